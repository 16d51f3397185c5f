"""``chance``: the share of unsafe answers, an estimate of P(unsafe) <= d that can be certified directly."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.costs import check_threshold, costs_of, finite


class Chance(Constraint):
    """``J = mean 1[f > τ]``. Unlike a mean probability, it has no floor from label noise."""

    is_rate = True

    def __init__(
        self, threshold: float = 0.03, tau: float = 0.0, window: int = 0, ema: float = 0.0, where: Any = None
    ) -> None:
        """Build the constraint.

        Args:
            threshold: d, a rate in [0, 1).
            tau: cost logit above which an answer counts as unsafe.
            window: see :class:`Constraint`.
            ema: likewise.
            where: likewise.
        """
        super().__init__(check_threshold(threshold, "indicator", "a rate of unsafe responses"), window, ema, where)
        self.tau = finite("tau", tau)

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """1 where the cost logit exceeds τ, else 0 [B]."""
        return costs_of(cost_logits_B, "indicator", self.tau)
