"""How far a loop is and how long the rest will take, in names, numbers and times short enough for 80 columns."""

from __future__ import annotations

import fnmatch
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a loop is.

    Attributes:
        title: the stage, and the loop where it is not training.
        total: steps of the whole run; None where Lightning does not know.
        done: steps that are over.
        metrics: short names and their latest values.
        note: shown in place of the metrics (``validating 2/4``).
        offset: steps that an earlier process has done (``resume=true``).
        started: monotonic time in seconds.
        stepped: time of the last step.
    """

    title: str
    total: int | None
    done: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""
    offset: int = 0
    started: float = field(default_factory=time.monotonic)
    stepped: float | None = None

    def elapsed(self, now: float) -> float:
        """Seconds since the loop began in this process."""
        return now - self.started

    def remaining(self, now: float) -> float | None:
        """Seconds left at the pace up to the last step, counted down since; None before the first step."""
        steps = self.done - self.offset
        if self.total is None or self.stepped is None or steps <= 0:
            return None
        left = self.elapsed(self.stepped) / steps * max(self.total - self.done, 0)
        return max(left - (now - self.stepped), 0.0)


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
