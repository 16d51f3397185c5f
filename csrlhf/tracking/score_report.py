"""Prints what a validation or test run of a score model found, beside its baseline: the last lines of the stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning.pytorch import Callback, LightningModule, Trainer

from csrlhf.report import Table, print_blocks
from csrlhf.report.numbers import MISSING


class ScoreReport(Callback):
    """A table of the split that was just judged; nothing while training.

    Args:
        names: metrics to print, of those in the module's ``final_metrics`` under ``<split>/``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module, "test")

    def _print(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        if trainer.is_global_zero and trainer.state.fn in ("validate", "test"):
            metrics: Mapping[str, float] = module.final_metrics  # type: ignore[assignment]  # the stages' own attribute
            print_blocks([score_table(metrics, split, self.names)])


def score_table(metrics: Mapping[str, float], split: str, names: Sequence[str]) -> Table:
    """Metric, value and interval, and the baseline's where there is one.

    Args:
        metrics: ``<split>/<name>``, ``_low``, ``_high``, and the same under ``baseline/``.
        split: which rows were judged.
        names: what to show; names that were not measured are left out.
    """
    has_baseline = any(key.startswith(f"baseline/{split}/") for key in metrics)
    areas = [split, *([f"baseline/{split}"] if has_baseline else [])]
    known = [name for name in names if f"{split}/{name}" in metrics]
    rows = [[name, *(_cell(metrics, f"{area}/{name}") for area in areas)] for name in known]
    return Table(["metric", "model", "bag of words"][: 1 + len(areas)], rows, f"{split} (95 % intervals)")


def _cell(metrics: Mapping[str, float], key: str) -> str:
    if key not in metrics:
        return ""
    if math.isnan(metrics[key]):  # undefined, like precision where nothing is flagged
        return MISSING
    value = f"{metrics[key]:.3f}"
    if f"{key}_low" in metrics:
        value += f" ({metrics[f'{key}_low']:.3f} to {metrics[f'{key}_high']:.3f})"
    return value
