"""``linear``: a fixed λ that always pays (what the paper's released code trains)."""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.penalties.base import Multiplier, Penalty, Weights


class Linear(Penalty):
    """Cost weight λ whether the constraint is met or not, reward weight 1, normaliser 1 + Σ λ."""

    def __init__(self, multiplier: Multiplier = 4.0) -> None:
        """Args: multiplier: λ, one number or a mapping by constraint name; >= 0."""
        super().__init__(multiplier)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """λ always; see the base class."""
        return Weights(torch.ones_like(self.multiplier_K[0]), self.multiplier_K.clone())
