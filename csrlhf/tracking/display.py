"""How the progress of a stage is displayed: a line that is redrawn in place in a terminal, plain lines elsewhere.

Steps are counted over the whole run, not per epoch, so that one bar fills once and the time left is the run's.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from csrlhf.terminal import plain_console
from csrlhf.tracking.progress import Progress, brief, clock, shown

MIN_BAR, MAX_BAR = 6, 24
"""Columns of the bar: metrics give way to the shortest, and a wide terminal gets no longer one than the longest."""


def progress_bar(title: str, metrics: Sequence[str], every: float = 5.0) -> ProgressBar:
    """The display that suits the output: a bar in a terminal, lines elsewhere.

    Args:
        title: the stage's name, shown in front.
        metrics: keys or patterns of the metrics shown, the most important first; what does not fit is left out.
        every: seconds between two lines where the output cannot redraw a line (CI, a file, ``TERM=dumb``).
    """
    if sys.stdout.isatty() and not plain_console().is_dumb_terminal:
        return LiveBar(title, metrics)
    return PlainLines(title, metrics, every)


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


class LiveBar(StageProgress):
    """``ppo ━━━━━━━──── 12/120  0:14<1:58  reward 1.234  cost 0.041``, in colours unless ``NO_COLOR`` is set.

    The line of the stage stays when it is done; those of a closing validation or test make room for what they found.

    Args:
        title: the stage's name.
        metrics: keys or patterns of the metrics shown.
        console: where to draw; None is standard output.
    """

    def __init__(self, title: str, metrics: Sequence[str], console: Console | None = None) -> None:
        super().__init__(title, metrics)
        self.console = console
        self._live: Live | None = None

    def open(self, progress: Progress) -> None:
        training = progress.title == self.title
        self._live = Live(
            _Line(progress), console=self.console or plain_console(), refresh_per_second=4, transient=not training
        )
        self._live.start()

    def draw(self, progress: Progress) -> None:
        """Nothing: the line is redrawn four times a second from the progress as it stands."""

    def close(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Line:
    """What rich draws: the line as it is at this moment."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A line that fills the last column makes some terminals wrap.
        yield bar_line(self.progress, time.monotonic(), options.max_width - 1, options.ascii_only)


def bar_line(progress: Progress, now: float, width: int, ascii_only: bool = False) -> Text:
    """The line, at most ``width`` columns.

    Args:
        progress: what to show.
        now: monotonic time in seconds.
        width: columns of the terminal.
        ascii_only: the terminal shows no other characters.
    """
    total = progress.total
    count = str(progress.done) if total is None else f"{progress.done:>{len(str(total))}}/{total}"
    times = f"{clock(progress.elapsed(now))}<{clock(progress.remaining(now))}"
    room = max(width - len(progress.title) - len(count) - len(times) - 4, 0)  # of bar and tail; 4 blanks between
    words: list[tuple[str, str]] = []
    for name, value in progress.metrics.items():
        if sum(map(len, chain(*words))) + len(f"  {name} {brief(value):>5}") > room - MIN_BAR:
            break
        words.append((f"  {name} ", f"{brief(value):>5}"))
    # While a note stands in place of the metrics, the bar keeps its length.
    length = min(room - sum(map(len, chain(*words))), MAX_BAR)
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    filled = 0 if not total else min(progress.done * length // total, length)
    finished = total is not None and progress.done >= total
    line = Text(no_wrap=True, overflow="crop")
    line.append(progress.title, "bold").append(" ")
    line.append(full * filled, "green" if finished else "cyan").append(empty * (length - filled), "bright_black")
    line.append(f" {count}").append(f"  {times}", "dim")
    if progress.note:
        line.append(f"  {progress.note}", "dim")
    else:
        for name, number in words:
            line.append(name).append(number, "cyan")
    line.truncate(width)
    return line


class PlainLines(StageProgress):
    """One line ``ppo  12/120  1:20 left  reward 1.23`` at most every few seconds, and one at the end of training.

    Args:
        title: the stage's name.
        metrics: keys or patterns of the metrics shown.
        every: least seconds between two lines.
    """

    def __init__(self, title: str, metrics: Sequence[str], every: float) -> None:
        super().__init__(title, metrics)
        self.every = every
        self._last = 0.0
        self._printed = (-1, "")  # step and note of the newest line

    def open(self, progress: Progress) -> None:
        # A loop that is over within seconds needs no line of its own, a long one shows that it has begun.
        self._last, self._printed = time.monotonic(), (-1, "")

    def draw(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last, self._printed = now, (progress.done, progress.note)
            print(plain(progress, now), flush=True)

    def close(self, progress: Progress) -> None:
        if progress.metrics and not progress.note and (progress.done, "") != self._printed:
            print(plain(progress, time.monotonic()), flush=True)


def plain(progress: Progress, now: float, width: int = 80) -> str:
    """The line, at most ``width`` characters: metrics that do not fit are left out."""
    steps = str(progress.done) if progress.total is None else f"{progress.done}/{progress.total}"
    words = [progress.title, steps]
    remaining = progress.remaining(now)
    if remaining is not None and progress.done < (progress.total or 0):
        words.append(f"{clock(remaining)} left")
    extra = [progress.note] if progress.note else [f"{name} {brief(value)}" for name, value in progress.metrics.items()]
    for word in extra:
        if len("  ".join([*words, word])) > width:
            break
        words.append(word)
    return "  ".join(words)


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
