"""Progress of a stage: what all displays show, whatever they look like.

Steps are counted over the whole run, not per epoch, so that one bar fills once and the time left is the run's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from csrlhf.tracking.progress_state import Progress
from csrlhf.tracking.progress_text import shown


class StageProgress(ProgressBar):
    """Follows Lightning's loops; subclasses draw.

    Args:
        title: the stage's name.
        metrics: keys or patterns of the metrics shown.
    """

    def __init__(self, title: str, metrics: Sequence[str]) -> None:
        super().__init__()
        self.title = title
        self.metrics = metrics
        self.enabled = True
        self.current: Progress | None = None

    def open(self, progress: Progress) -> None:
        """A loop begins."""
        raise NotImplementedError

    def draw(self, progress: Progress) -> None:
        """A step is over."""
        raise NotImplementedError

    def close(self, progress: Progress) -> None:
        """The loop has ended, or was broken off."""
        raise NotImplementedError

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self._open(Progress(self.title, train_steps(trainer), done, offset=done))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._draw(trainer, trainer.fit_loop.epoch_loop.total_batch_idx + 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._open(Progress(f"{self.title} validation", _whole(sum(trainer.num_val_batches))))
        else:
            self._validating(trainer, 0)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == "validate":
            self._draw(trainer, batch_idx + 1)
        else:
            self._validating(trainer, batch_idx + 1)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":  # before the module's hook of this name, which may print
            self._close()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.current is not None and trainer.state.fn == "fit":
            self._draw(trainer, self.current.done)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        alone = trainer.fit_loop.epoch_loop.total_batch_idx < 0  # a stage that only tests needs no second word
        title = self.title if alone else f"{self.title} test"
        self._open(Progress(title, _whole(sum(trainer.num_test_batches))))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._draw(trainer, batch_idx + 1)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _open(self, progress: Progress) -> None:
        if self.enabled:
            self.current = progress
            self.open(progress)

    def _draw(self, trainer: Trainer, done: int, note: str = "") -> None:
        if self.current is not None:
            if done > self.current.done:
                self.current.stepped = time.monotonic()
            self.current.done, self.current.note = done, note
            self.current.metrics = shown(trainer.callback_metrics, self.metrics)
            self.draw(self.current)

    def _validating(self, trainer: Trainer, done: int) -> None:
        if self.current is not None and not trainer.sanity_checking:
            self._draw(trainer, self.current.done, f"validating {done}/{_whole(sum(trainer.num_val_batches))}")

    def _close(self) -> None:
        if self.current is not None:
            self.close(self.current)
            self.current = None


def train_steps(trainer: Trainer) -> int | None:
    """Batches of the whole run over all epochs, as far as Lightning and the data know."""
    per_epoch = _whole(trainer.num_training_batches)
    limits = [per_epoch * trainer.max_epochs] if per_epoch and (trainer.max_epochs or -1) > 0 else []  # type: ignore[operator]
    if trainer.max_steps > 0:  # counts optimiser steps
        limits.append(trainer.max_steps * trainer.accumulate_grad_batches)
    iterations = getattr(trainer.datamodule, "iterations", None)  # type: ignore[attr-defined]  # PPO: its last epoch may be shorter
    return min([*limits, *([iterations] if iterations else [])], default=None)


def _whole(count: float) -> int | None:
    return int(count) if math.isfinite(count) else None  # a loader that does not know its length
