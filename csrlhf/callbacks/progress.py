"""Progress: a rich bar in a terminal, a plain line every few seconds elsewhere (a CI log, a file)."""

from __future__ import annotations

import sys
import time
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


def progress_bar(title: str, every: float = 5.0) -> ProgressBar:
    """The bar that suits the output.

    Args:
        title: the stage's name, shown in front.
        every: seconds between two lines where the output is no terminal.
    """
    return RichStageBar(title) if sys.stdout.isatty() else PlainLines(title, every)


def short_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Keys without their area (``train/loss`` -> ``loss``), which fit into 80 columns."""
    return {key.rsplit("/", 1)[-1]: value for key, value in metrics.items() if key != "v_num"}


class RichStageBar(RichProgressBar):
    """Lightning's rich bar (which respects NO_COLOR) in our colours, titled with the stage."""

    def __init__(self, title: str) -> None:
        super().__init__(refresh_rate=10, theme=THEME)
        self.title = title

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return short_metrics(dict(super().get_metrics(trainer, pl_module)))

    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs or 1
        return f"{self.title} {current_epoch + 1}/{epochs}" if epochs > 1 else self.title


class PlainLines(ProgressBar):
    """One line ``title  12/350 steps  loss 1.23`` at most every few seconds, and one at the end.

    Args:
        title: the stage's name.
        every: least seconds between two lines.
    """

    def __init__(self, title: str, every: float) -> None:
        super().__init__()
        self.title = title
        self.every = every
        self._enabled = True
        self._last = 0.0
        self._first_of_run = True

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
        metrics = short_metrics(dict(self.get_metrics(trainer, pl_module)))
        words = [f"{key} {value:.3g}" for key, value in metrics.items() if isinstance(value, float)]
        steps = f"{done}/{int(total) * epochs}" if finite else str(done)
        print("  ".join([f"{self.title}  {steps}", *words]), flush=True)
