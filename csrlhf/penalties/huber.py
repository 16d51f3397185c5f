"""``huber``: a hinge with a rounded foot; the weight rises linearly and then stays at λ."""

from __future__ import annotations

import torch
from torch import Tensor

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


class Huber(Penalty):
    """Penalty ``λ v² / (2 δ)`` on [0, δ] and ``λ (v - δ / 2)`` above; reward weight 1; no state.

    So the cost weight is ``λ · clip(v / δ, 0, 1)``: nothing below the threshold, where a softplus still pays. It
    settles at ``v = δ λ* / λ`` above the threshold: a small, known violation in exchange for a weight without jumps.
    """

    gated = True

    def __init__(
        self, multiplier: Multiplier = 8.0, delta: float = 0.02, normaliser: str = "fixed", gate: str = "leave_one_out"
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ, to be chosen above the optimal dual variable λ*.
            delta: δ > 0, the violation from which on the whole λ is charged, on the threshold's scale.
            normaliser: ``fixed`` = 1 + Σ λ, ``none`` = 1, ``weights`` = w_r + Σ w_k.
            gate: which responses' violation it looks at, one of ``GATES``.
        """
        super().__init__(multiplier)
        self.delta = positive("penalty.delta", delta)
        self.normaliser = check_choice("penalty.normaliser", normaliser, NORMALISERS)
        self.gate = check_choice("penalty.gate", gate, GATES)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """The clipped ramp at this batch's violation; see the base class."""
        cost_K = self.multiplier_K * (violation_K / self.delta).clamp(0.0, 1.0)
        one = torch.ones_like(self.multiplier_K[0])
        return Weights(one, cost_K, constant_normaliser(self.normaliser, self.multiplier_K))
