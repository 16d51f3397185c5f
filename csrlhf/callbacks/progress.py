"""Progress: a rich bar in a terminal, a plain line every few seconds elsewhere (a CI log, a file)."""

from __future__ import annotations

import fnmatch
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

THEME = RichProgressBarTheme(
    description="bold",
    progress_bar="cyan",
    progress_bar_finished="green",
    progress_bar_pulse="cyan",
    batch_progress="",
    time="dim",
    processing_speed="dim",
    metrics="cyan",
    metrics_text_delimiter="  ",
    metrics_format=".3g",
)


def progress_bar(title: str, metrics: Sequence[str], every: float = 5.0) -> ProgressBar:
    """The bar that suits the output.

    Args:
        title: the stage's name, shown in front.
        metrics: keys or patterns of the metrics shown; keep them few, 80 columns are to be enough.
        every: seconds between two lines where the output is no terminal.
    """
    return RichStageBar(title, metrics) if sys.stdout.isatty() else PlainLines(title, metrics, every)


def shown(metrics: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, float]:
    """The metrics that match, in the patterns' order, under short names.

    A name is the key's last word (``train/loss`` -> ``loss``), and where several keys share it, what tells them apart
    stays in front (``constraint/harm/cost`` -> ``harm cost``).
    """
    keys = dict.fromkeys(key for pattern in patterns for key in sorted(metrics) if fnmatch.fnmatchcase(key, pattern))
    last = Counter(key.rsplit("/", 1)[-1] for key in keys)

    def name(key: str) -> str:
        area, *words = key.split("/")
        if not words or last[words[-1]] == 1:
            return key.rsplit("/", 1)[-1]
        return " ".join(words if len(words) > 1 else [area, *words])

    return {name(key): float(metrics[key]) for key in keys}


class RichStageBar(RichProgressBar):
    """Lightning's rich bar (which respects NO_COLOR) in our colours, titled with the stage."""

    def __init__(self, title: str, metrics: Sequence[str]) -> None:
        super().__init__(refresh_rate=10, theme=THEME)
        self.title = title
        self.metrics = metrics

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return dict(shown(trainer.callback_metrics, self.metrics))

    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs or 1
        return f"{self.title} {current_epoch + 1}/{epochs}" if epochs > 1 else self.title


class PlainLines(ProgressBar):
    """One line ``title  12/350 steps  loss 1.23`` at most every few seconds, and one at the end.

    Args:
        title: the stage's name.
        metrics: keys or patterns of the metrics shown.
        every: least seconds between two lines.
    """

    def __init__(self, title: str, metrics: Sequence[str], every: float) -> None:
        super().__init__()
        self.title = title
        self.metrics = metrics
        self.every = every
        self._enabled = True
        self._last = 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        total = trainer.num_training_batches
        epochs = trainer.max_epochs or 1
        finite = isinstance(total, int) and epochs > 0
        done = trainer.current_epoch * total + batch_idx + 1 if finite else batch_idx + 1
        last = finite and done == total * epochs
        if not self._enabled or (time.monotonic() - self._last < self.every and not last):
            return
        self._last = time.monotonic()
        words = [f"{key} {value:.3g}" for key, value in shown(trainer.callback_metrics, self.metrics).items()]
        steps = f"{done}/{int(total) * epochs}" if finite else str(done)
        print("  ".join([f"{self.title}  {steps}", *words]), flush=True)
