"""``squared``: the quadratic penalty of textbooks, smooth and never exact."""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.penalties.base import GATES, NORMALISERS, Multiplier, Penalty, Weights, check_choice, constant_normaliser


class Squared(Penalty):
    """Penalty ``λ relu(v)²``, so cost weight ``2 λ relu(v)``; reward weight 1; no state.

    A weight of λ* needs a violation: it settles at about ``v = λ* / (2 λ)``, infeasible for every finite λ (Nocedal
    and Wright, Numerical Optimization, chapter 17). λ has another unit than a hinge's: reward per squared violation.
    """

    gated = True

    def __init__(self, multiplier: Multiplier = 100.0, normaliser: str = "fixed", gate: str = "leave_one_out") -> None:
        """Build the strategy.

        Args:
            multiplier: λ; about λ* over twice the violation that is tolerated.
            normaliser: ``fixed`` = 1 + Σ λ, ``none`` = 1, ``weights`` = w_r + Σ w_k.
            gate: which responses' violation it looks at, one of ``GATES``.
        """
        super().__init__(multiplier)
        self.normaliser = check_choice("penalty.normaliser", normaliser, NORMALISERS)
        self.gate = check_choice("penalty.gate", gate, GATES)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """Twice λ times the violation, where there is one; see the base class."""
        cost_K = 2 * self.multiplier_K * violation_K.clamp(min=0)
        one = torch.ones_like(self.multiplier_K[0])
        return Weights(one, cost_K, constant_normaliser(self.normaliser, self.multiplier_K))
