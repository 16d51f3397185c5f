"""Which display of progress suits the output."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightning.pytorch.callbacks import ProgressBar

from csrlhf.callbacks.live_bar import LiveBar
from csrlhf.callbacks.plain_lines import PlainLines
from csrlhf.terminal import plain_console


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
