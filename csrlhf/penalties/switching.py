"""``switching``: reward or costs, one at a time (CRPO, arXiv 2011.05869)."""

from __future__ import annotations

import math

from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import GATES, Penalty, Weights, check_choice


class Switching(Penalty):
    """``v > tolerance``: cost weight 1 and reward weight 0; else cost weight 0 and reward weight 1. No state, no λ.

    Of several constraints those above the tolerance are lowered together, each with weight 1 (the paper takes any one
    of them). Z is the sum of the weights: 1 in reward steps, the number of violated constraints else, never 0. With
    steps of equal size the costs' turn takes ``λ* / (1 + λ*)`` of the iterations.
    """

    def __init__(self, tolerance: float = 0.0, gate: str = "leave_one_out") -> None:
        """Build the strategy.

        Args:
            tolerance: η, on the threshold's scale: violations up to it are none. Below 0 it keeps a distance.
            gate: which answers it looks at: ``batch``, ``leave_one_out``, ``held_out`` or ``previous``.
        """
        super().__init__(multiplier=1.0)
        if not math.isfinite(tolerance):
            raise UserError(f"penalty.tolerance={tolerance}: must be a finite number, e.g. 0")
        self.tolerance = float(tolerance)
        self.gate = check_choice("penalty.gate", gate, GATES)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """Whose turn it is; see the base class."""
        violated_K = violation_K > self.tolerance
        reward = (~violated_K.any()).to(self.multiplier_K.dtype)
        return Weights(reward, self.multiplier_K * violated_K)
