"""Names, numbers and times of a progress display, short enough for 80 columns."""

from __future__ import annotations

import fnmatch
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


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


def brief(value: float) -> str:
    """A number in at most five characters wherever that is possible: a display whose numbers grow does not jump."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 5e-4:
        return "0.000"
    for decimals in (3, 2, 1, 0):
        text = f"{value:.{decimals}f}"
        if len(text) <= 5:
            break
    else:
        text = f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return text


def clock(seconds: float | None) -> str:
    """``1:05``, ``2:01:05``, ``3d 04h``; ``-:--`` for None."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
