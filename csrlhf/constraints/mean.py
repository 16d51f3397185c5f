"""``mean``: the average cost, as a probability or on the raw logit scale (the paper's statistic)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.costs import check_scale, check_threshold, costs_of

SCALES = ("probability", "logit")
"""A mean of indicators is ``chance``."""


class Mean(Constraint):
    """``J = mean sigmoid(f)`` or ``mean f``; d lives on the same scale (arXiv 2510.03520)."""

    def __init__(
        self, threshold: float = 0.05, scale: str = "probability", window: int = 0, ema: float = 0.0, where: Any = None
    ) -> None:
        """Build the constraint.

        Args:
            threshold: d, in (0, 1) for probabilities, any number for logits.
            scale: ``probability`` or ``logit``.
            window: see :class:`Constraint`.
            ema: likewise.
            where: likewise.
        """
        self_scale = check_scale(scale, SCALES)
        super().__init__(check_threshold(threshold, self_scale, "a mean probability"), window, ema, where)
        self.scale = self_scale

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """The probability of harm, or the raw logit [B]."""
        return costs_of(cost_logits_B, self.scale)
