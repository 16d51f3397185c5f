"""``none``: plain PPO on the reward, with the costs measured and logged all the same."""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.penalties.base import Penalty, Weights


class NoPenalty(Penalty):
    """Cost weight 0, reward weight 1."""

    constrains = False

    def __init__(self) -> None:
        super().__init__(multiplier=0.0)

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """Nothing on the costs; see the base class."""
        return Weights(torch.ones_like(self.multiplier_K[0]), torch.zeros_like(self.multiplier_K))
