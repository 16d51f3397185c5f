"""``repo``: Rectified Policy Optimization (arXiv 2410.19933): each prompt's own violation, at the price of a dual."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import Multiplier, Penalty, Weights, check_ceiling, positive


class RePO(Penalty):
    """Cost weight λ on responses to a prompt whose own cost is above d, 0 on the others; state: λ.

    An average over prompts lets harmless ones pay for harmful ones ("safety compensation"). Here a prompt's violation
    ``v_x = mean of its responses' costs - d`` is rectified before it is averaged: the responses to it get the
    advantage ``(A_r - λ A_c) / (1 + λ)`` where ``v_x > 0`` and ``A_r`` elsewhere, and λ rises by the mean of what is
    rectified, ``λ <- λ + η (mean_x relu(v_x) - tolerance)``, within [0, max_multiplier].

    With ``tolerance = 0``, the paper's, λ never falls: that of every prompt is to be 0, which a policy that samples
    cannot reach. As costs of 0 or 1 have ``relu(1 - d)`` or 0, the tolerance then is ``(1 - d)`` times the share of
    prompts that may stay unsafe. The prompt is the one that its own responses judge: gate and gradient see the same
    sample, and nothing here estimates λ*.
    """

    gate = "prompt"

    def __init__(
        self, multiplier: Multiplier = 1.0, lr: float = 0.1, tolerance: float = 0.0, max_multiplier: float = 100.0
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ at the start.
            lr: η, the dual step.
            tolerance: mean rectified violation at which λ stays, on the scale of the cost; >= 0.
            max_multiplier: λ never exceeds it.
        """
        super().__init__(multiplier)
        self.lr = positive("penalty.lr", lr)
        if not 0 <= tolerance < math.inf:
            raise UserError(f"penalty.tolerance={tolerance}: must be a finite number >= 0")
        self.tolerance = float(tolerance)
        self.max_multiplier = positive("penalty.max_multiplier", max_multiplier)

    def setup(self, constraints: Sequence[str]) -> None:
        """Register λ; refuse a start above its ceiling."""
        super().setup(constraints)
        check_ceiling(self.multiplier_K, self.max_multiplier)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """λ where a prompt's violation is above 0; see the base class."""
        return Weights(torch.ones_like(self.multiplier_K[0]), self.multiplier_K * (violation_K > 0))

    def update(self, violation_K: Tensor, rectified_K: Tensor | None = None) -> None:
        """One dual step, by the mean over the prompts of their rectified violations (of the batch's without them)."""
        excess_K = violation_K.clamp(min=0) if rectified_K is None else rectified_K
        moved_K = self.multiplier_K + self.lr * (excess_K.to(self.multiplier_K) - self.tolerance)
        self.multiplier_K.copy_(moved_K.clamp(0.0, self.max_multiplier))
