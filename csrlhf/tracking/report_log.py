"""A report's figures and tables in the tracker, so that its panels show what the page shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from csrlhf.report import Report

FIGURES = "plots"
"""The section of the stage's other plots: a figure that also lies in ``plots/<name>.png`` keeps one key."""

TABLES = "report"


def log_report(loggers: Iterable[Any], report: Report) -> None:
    """Logs figures as ``plots/<name>``, tables and matrices as ``report/<key>``.

    Call it on the main process, before the stage ends. Loggers that take neither are passed over; where none takes
    figures, none is drawn.

    Args:
        loggers: those of the trainer; W&B's has ``log_table`` and ``log_figures``.
        report: what was, or will be, written as ``report.html``.
    """
    loggers = list(loggers)
    for logger in loggers:
        if hasattr(logger, "log_table"):
            for key, (columns, rows) in report.tables().items():
                logger.log_table(f"{TABLES}/{key}", columns, rows)
    takers = [logger for logger in loggers if hasattr(logger, "log_figures")]
    if takers:
        figures = {f"{FIGURES}/{name}": figure for name, figure in report.figures().items()}
        for logger in takers:
            logger.log_figures(figures)
