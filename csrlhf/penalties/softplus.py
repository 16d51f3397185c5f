"""``softplus``: a fixed λ behind a smooth gate, the derivative of a softened hinge."""

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


class Softplus(Penalty):
    """Penalty ``λ τ log(1 + exp(v / τ))``, so cost weight ``λ · σ(v / τ)``; reward weight 1; no state.

    Half of λ at the threshold, nearly all of it a few τ above. It settles where ``λ σ(v / τ) = λ*``, that is at
    ``v = τ log(λ* / (λ - λ*))``: below the threshold for λ > 2 λ*. As τ -> 0 it is ``rectified``.
    """

    gated = True

    def __init__(
        self,
        multiplier: Multiplier = 8.0,
        temperature: float = 0.02,
        normaliser: str = "fixed",
        gate: str = "leave_one_out",
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ, to be chosen above the optimal dual variable λ*.
            temperature: τ > 0, the width of the switch on the threshold's scale.
            normaliser: ``fixed`` = 1 + Σ λ, ``none`` = 1, ``weights`` = w_r + Σ w_k.
            gate: which responses' violation it looks at, one of ``GATES``.
        """
        super().__init__(multiplier)
        self.temperature = positive("penalty.temperature", temperature)
        self.normaliser = check_choice("penalty.normaliser", normaliser, NORMALISERS)
        self.gate = check_choice("penalty.gate", gate, GATES)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """The smooth gate on this batch's violation; see the base class."""
        cost_K = self.multiplier_K * torch.sigmoid(violation_K / self.temperature)
        one = torch.ones_like(self.multiplier_K[0])
        return Weights(one, cost_K, constant_normaliser(self.normaliser, self.multiplier_K))
