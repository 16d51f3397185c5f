"""How far a loop is, and how long the rest will take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


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
