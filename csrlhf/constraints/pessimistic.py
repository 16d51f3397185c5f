"""``pessimistic``: the mean cost plus a confidence margin, so that the constraint is met with a margin (HC-RLHF)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.costs import check_scale, check_threshold, costs_of, finite
from csrlhf.errors import UserError
from csrlhf.stats.bounds import student_quantile


class Pessimistic(Constraint):
    """``J = μ + κ σ``, ``κ = t-quantile / √n``: Student's one-sided upper bound on μ at level δ (arXiv 2506.08266).

    n is the number of answers behind J: of the batch, the window, or the average's effective number. The margin shrinks
    with it, and a policy is also paid for answers that lie closer together.
    """

    def __init__(
        self,
        threshold: float = 0.05,
        delta: float = 0.05,
        scale: str = "probability",
        tau: float = 0.0,
        window: int = 0,
        ema: float = 0.0,
        where: Any = None,
    ) -> None:
        """Build the constraint.

        Args:
            threshold: d, on the scale of the costs.
            delta: level of the one-sided bound, in (0, 0.5]: how often it may lie below the true mean.
            scale: of an answer's cost: ``probability``, ``logit`` or ``indicator``.
            tau: with ``scale=indicator``, the cost logit above which an answer counts as unsafe.
            window: see :class:`Constraint`.
            ema: likewise.
            where: likewise.
        """
        super().__init__(check_threshold(threshold, check_scale(scale), "a mean cost"), window, ema, where)
        if not 0 < delta <= 0.5:
            raise UserError(
                f"constraints.<name>.delta={delta}: must be in (0, 0.5], e.g. 0.05; above it the margin is negative"
            )
        self.delta, self.scale, self.tau = float(delta), scale, finite("tau", tau)
        self.is_rate = scale == "indicator"

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """The answers' costs on the scale [B]."""
        return costs_of(cost_logits_B, self.scale, self.tau)

    def kappa(self, count: float) -> float:
        """The margin in deviations; 0 for a single answer, whose deviation is unknown."""
        return student_quantile(1 - self.delta, count - 1) / math.sqrt(count) if count > 1 else 0.0
