"""What the mixed advantage is divided by: the spread of the reward channel, which no gate touches.

A spread of the *mixed* advantage (whitening, GRPO's group deviation) is large while the gate is open and small while it
is closed. Divided by it, open and closed iterations make steps of one length, the constant normaliser Z is undone, and
the gate settles at a duty cycle that λ hardly moves.

Legend: B sequences, T response tokens, K constraints.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.ops.masking import Total, alone, masked_scale, masked_sum, masked_whiten
from csrlhf.state import PreciseState

DECAY = 0.9
"""Of the moving average: about ten iterations."""

LEAST_SPREAD = 1e-6
"""Rewards that have not differed by more are not divided by: what costs are then multiplied by would be arbitrary."""


class RewardScale(PreciseState):
    """Root mean square of the reward channel's advantage over the last iterations; checkpointed with the module.

    One number divides reward and costs alike, so λ keeps its price.

    Attributes:
        mean_square: moving average over iterations, bias-corrected when read.
        num_seen: iterations taken in.
    """

    mean_square: Tensor
    num_seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_square", torch.zeros((), dtype=torch.float64))
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.long))

    def update(self, reward_advantage_BT: Tensor, mask_BT: Tensor, total: Total = alone) -> None:
        """Take an iteration in.

        Args:
            reward_advantage_BT: of the reward channel alone.
            mask_BT: True on response tokens.
            total: adds up a tensor over all processes.
        """
        count = total(mask_BT.sum().to(self.mean_square)).clamp(min=1)
        square = total(masked_sum(reward_advantage_BT.to(self.mean_square) ** 2, mask_BT)) / count
        self.mean_square.lerp_(square, 1 - DECAY)
        self.num_seen += 1

    @property
    def divisor(self) -> Tensor:
        """The root mean square (scalar); 1 before the first iteration and where rewards have shown no spread."""
        spread = (self.mean_square / (1 - DECAY ** max(int(self.num_seen), 1))).sqrt()
        return torch.where(spread > LEAST_SPREAD, spread, 1.0)


NORMALISE = ("none", "reward", "whiten", "scale")
"""What may be done to the mixed advantage over the whole batch. ``reward`` divides by :class:`RewardScale`; ``whiten``
and ``scale`` by the mixed advantage's own spread, the first after its mean is taken out."""


def normalise_mix(
    how: str,
    mixed_BT: Tensor,
    reward_advantage_BT: Tensor,
    mask_BT: Tensor,
    total: Total = alone,
    scale: RewardScale | None = None,
) -> Tensor:
    """One of ``NORMALISE``, over the response tokens of all processes.

    Args:
        how: which.
        mixed_BT: the mixed advantage.
        reward_advantage_BT: of the reward channel alone.
        mask_BT: True on response tokens.
        total: adds up a tensor over all processes.
        scale: of the run, with the iterations before; None for this batch alone.
    """
    if how == "none":
        return mixed_BT
    if how == "reward":
        scale = scale or RewardScale().to(mixed_BT.device)
        scale.update(reward_advantage_BT, mask_BT, total)
        return mixed_BT / scale.divisor.to(mixed_BT)
    return {"whiten": masked_whiten, "scale": masked_scale}[how](mixed_BT, mask_BT, total)
