"""``log_barrier``: the price of coming close, an interior-point penalty (IPO, arXiv 1910.09615)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import (
    GATES,
    NORMALISERS,
    Multiplier,
    Penalty,
    Weights,
    check_choice,
    constant_normaliser,
    positive,
)


class LogBarrier(Penalty):
    """Barrier ``log(-v) / t``, so cost weight ``1 / (t · (-v))`` inside; reward weight 1; state: t.

    The paper's barrier is infinite at the threshold and undefined above it, and a policy that starts infeasible never
    meets it. Recovery here: the weight is at most λ, ``min(λ, 1 / (t · (-v)))``, and λ where ``v >= 0``. It meets the
    inside without a jump, at ``v = -1 / (t λ)``, and is the exact penalty's above, so λ has to exceed λ*.
    The optimum under it lies inside the constraint and short of the constrained optimum by about ``1 / t``.
    """

    sharpness: Tensor

    def __init__(
        self,
        multiplier: Multiplier = 8.0,
        sharpness: float = 20.0,
        growth: float = 1.0,
        max_sharpness: float = 1000.0,
        normaliser: str = "fixed",
        gate: str = "leave_one_out",
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ > 0, the largest weight, which also pulls an infeasible policy back.
            sharpness: t > 0 at the start; a larger one is closer to the constrained optimum, and steeper.
            growth: factor >= 1 on t after each iteration; 1 leaves t as it is.
            max_sharpness: t never exceeds it.
            normaliser: ``fixed`` = 1 + Σ λ, ``none`` = 1 (the paper's), ``weights`` = w_r + Σ w_k.
            gate: which responses' violation it looks at, one of ``GATES``.
        """
        super().__init__(multiplier)
        self.start = positive("penalty.sharpness", sharpness)
        self.max_sharpness = positive("penalty.max_sharpness", max_sharpness)
        if self.start > self.max_sharpness:
            raise UserError(
                f"penalty.sharpness={sharpness:g}: starts above penalty.max_sharpness={max_sharpness:g}, where it "
                "would be cut; change one of them"
            )
        self.growth = positive("penalty.growth", growth)
        if self.growth < 1:
            raise UserError(f"penalty.growth={growth}: must be >= 1 (1 leaves the sharpness as it is)")
        self.normaliser = check_choice("penalty.normaliser", normaliser, NORMALISERS)
        self.gate = check_choice("penalty.gate", gate, GATES)

    def setup(self, constraints: Sequence[str]) -> None:
        """Register λ and t; refuse a λ of 0, which would leave no barrier."""
        super().setup(constraints)
        if bool((self.multiplier_K <= 0).any()):
            raise UserError(
                "penalty.multiplier=0: the barrier's largest weight must be above 0; for none, penalty=none"
            )
        self.register_buffer("sharpness", torch.tensor(self.start))

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """The barrier's slope, at most λ; see the base class."""
        # The larger of the distance and the one where the slope is λ: no division by 0, no case distinction.
        distance_K = torch.maximum(-violation_K, 1 / (self.sharpness * self.multiplier_K))
        one = torch.ones_like(self.multiplier_K[0])
        return Weights(one, 1 / (self.sharpness * distance_K), constant_normaliser(self.normaliser, self.multiplier_K))

    def update(self, violation_K: Tensor) -> None:
        """The schedule of t, which asks for nothing but the number of iterations."""
        self.sharpness.mul_(self.growth).clamp_(max=self.max_sharpness)
