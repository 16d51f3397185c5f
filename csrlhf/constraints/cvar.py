"""``cvar``: the mean of the highest costs, a share ``1 - α`` of all (Rockafellar and Uryasev, 2000)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.costs import check_scale, check_threshold, costs_of, finite
from csrlhf.errors import UserError


class CVaR(Constraint):
    """``J = t + mean(relu(c - t)) / (1 - α)`` at the α-quantile t of the costs of all processes.

    An answer's term ``t + relu(c - t) / (1 - α)`` has the mean J, and is J's influence function up to a constant (the
    quantile's own error drops out at the optimum over t): the same term gives the gradient and the standard error.
    """

    def __init__(
        self,
        threshold: float = 0.3,
        alpha: float = 0.9,
        scale: str = "probability",
        tau: float = 0.0,
        window: int = 0,
        ema: float = 0.0,
        where: Any = None,
    ) -> None:
        """Build the constraint.

        Args:
            threshold: d, on the scale of the costs.
            alpha: in [0, 1): the worst ``1 - alpha`` of the answers count; 0 is the mean.
            scale: of an answer's cost: ``probability``, ``logit`` or ``indicator``.
            tau: with ``scale=indicator``, the cost logit above which an answer counts as unsafe.
            window: see :class:`Constraint`.
            ema: likewise; of the batches' tail means.
            where: likewise.
        """
        checked = check_threshold(threshold, check_scale(scale), "the mean cost of the worst responses")
        super().__init__(checked, window, ema, where)
        if not 0 <= alpha < 1:
            raise UserError(
                f"constraints.<name>.alpha={alpha}: must be in [0, 1), e.g. 0.9 for the worst tenth of the responses"
            )
        self.alpha, self.scale, self.tau = float(alpha), scale, finite("tau", tau)

    @property
    def least_count(self) -> int:
        """Answers from which on at least one of them is in the tail."""
        return math.ceil(1 / (1 - self.alpha) - 1e-9)

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """The answers' costs on the scale [B]."""
        return costs_of(cost_logits_B, self.scale, self.tau)

    def terms(self, cost_B: Tensor, cost_N: Tensor) -> Tensor:
        """``t + relu(c - t) / (1 - α)`` [B].

        t is the ⌈αN⌉-th smallest cost: with a quantile between two costs the formula would exceed the tail's mean
        wherever αN is no whole number.
        """
        count = cost_N.numel()
        if count < self.least_count:
            raise UserError(
                f"constraints.<name>.alpha={self.alpha:g}: the worst {1 - self.alpha:.3g} of {count} responses is less "
                f"than one, and nothing could be learned from it; take {self.least_count} or more (ppo.batch_size, "
                "ppo.num_validation), or a smaller alpha"
            )
        rank = max(math.ceil(self.alpha * count - 1e-9), 1)  # 0.55 · 100 is a little more than 55 in floating point
        quantile = cost_N.kthvalue(rank).values
        return quantile + (cost_B - quantile).clamp(min=0) / (1 - self.alpha)
