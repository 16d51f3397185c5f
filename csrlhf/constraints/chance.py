"""``chance``: the share of unsafe answers, an estimate of P(unsafe) <= d that can be certified directly."""

from __future__ import annotations

from torch import Tensor

from csrlhf.constraints.base import Constraint, finite
from csrlhf.errors import UserError


class Chance(Constraint):
    """``J = mean 1[f > τ]``. Unlike a mean probability, it has no floor from label noise."""

    is_rate = True

    def __init__(self, threshold: float = 0.05, tau: float = 0.0) -> None:
        """Build the constraint.

        Args:
            threshold: d, a rate in [0, 1).
            tau: cost logit above which an answer counts as unsafe.
        """
        if not 0 <= threshold < 1:
            raise UserError(
                f"constraints.<name>.threshold={threshold}: a rate of unsafe answers lies in [0, 1); outside it "
                "no policy could meet the constraint, or none could violate it. Choose e.g. 0.05"
            )
        super().__init__(threshold)
        self.tau = finite("tau", tau)

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """1 where the cost logit exceeds τ, else 0 [B]."""
        return (cost_logits_B > self.tau).to(cost_logits_B.dtype)
