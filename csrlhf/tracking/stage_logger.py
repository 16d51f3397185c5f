"""What a tracker may be told of a stage beside its numbers: where it begins and ends, and what its report shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from csrlhf.report import Report

FIGURES = "plots"
"""The section of the stage's other plots: a figure that also lies in ``plots/<name>.png`` keeps one key."""

TABLES = "report"


@runtime_checkable
class StageLogger(Protocol):
    """A logger with these methods is notified of the start and the result of a stage; others are not."""

    def begin_stage(self, title: str, inputs: Mapping[str, str]) -> None:
        """Called before training, on the main process.

        Args:
            title: a name for the run, e.g. ``ppo-rectified-c3a31146``.
            inputs: folder or Hub name of each earlier result that the stage reads.
        """
        ...

    def end_stage(self, folder: Path) -> None:
        """Called when the result is in ``folder``, on the main process; nothing is logged after it."""
        ...


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
