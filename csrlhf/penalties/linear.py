"""``linear``: a fixed λ that always pays (what the paper's released code trains)."""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.penalties.base import Penalty, Weights


class Linear(Penalty):
    """Cost weight λ whether the constraint is met or not, reward weight 1, normaliser 1 + Σ λ."""

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """λ always; see the base class."""
        return Weights(torch.ones_like(self.multiplier_K[0]), self.multiplier_K.clone())
