"""Progress as plain lines, for a CI log, a file or a terminal that cannot redraw a line. No escape codes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from csrlhf.tracking.progress import StageProgress
from csrlhf.tracking.progress_state import Progress
from csrlhf.tracking.progress_text import brief, clock


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
