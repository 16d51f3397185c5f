"""``mean``: the average cost, as a probability or on the raw logit scale (the paper's statistic)."""

from __future__ import annotations

from torch import Tensor

from csrlhf.constraints.base import Constraint
from csrlhf.errors import UserError

SCALES = ("probability", "logit")


class Mean(Constraint):
    """``J = mean sigmoid(f)`` or ``mean f``; d lives on the same scale (arXiv 2510.03520)."""

    def __init__(self, threshold: float = 0.05, scale: str = "probability") -> None:
        """Build the constraint.

        Args:
            threshold: d, in (0, 1) for probabilities, any number for logits.
            scale: ``probability`` or ``logit``.
        """
        if scale not in SCALES:
            raise UserError(f"constraints.<name>.scale={scale!r}: choose one of {', '.join(SCALES)}")
        if scale == "probability" and not 0 < threshold < 1:
            raise UserError(
                f"constraints.<name>.threshold={threshold}: a mean probability lies in (0, 1); a threshold outside "
                "it can never be crossed. Choose e.g. 0.05, or scale=logit for a threshold on raw logits"
            )
        super().__init__(threshold)
        self.scale = scale

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """The probability of harm, or the raw logit [B]."""
        return cost_logits_B.sigmoid() if self.scale == "probability" else cost_logits_B
