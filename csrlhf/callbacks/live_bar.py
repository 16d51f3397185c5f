"""Progress as one line that is redrawn in place, for terminals. It never wraps and never changes its height."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from csrlhf.callbacks.progress import StageProgress
from csrlhf.callbacks.progress_state import Progress
from csrlhf.callbacks.progress_text import brief, clock
from csrlhf.terminal import plain_console

MIN_BAR, MAX_BAR = 6, 24
"""Columns of the bar: metrics give way to the shortest, and a wide terminal gets no longer one than the longest."""


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
