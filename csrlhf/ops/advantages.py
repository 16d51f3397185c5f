"""Advantages per channel (from a critic, or from whole sequences), and the mix of channels into one advantage.

Legend: B sequences, T response tokens, K constraints, C = 1 + K channels (reward first).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from csrlhf.ops.masking import Total, alone

# Which responses answer the same prompt, and sums over each prompt's responses, also where processes share a group.


@dataclass(frozen=True)
class Groups:
    """The group of each response of this process.

    Example (the second of two processes, 3 responses each, 2 per prompt): ``Groups(tensor([1, 2, 2]), count=3)``;
    the first holds ``Groups(tensor([0, 0, 1]), count=3)``, and group 1 is shared.

    Attributes:
        index_B: its number (int64), counted through all processes, 0 <= index < count.
        count: G, groups of the whole batch.
    """

    index_B: Tensor
    count: int


def consecutive_groups(first: int, size: int, whole: int, per_group: int, device: torch.device) -> Groups:
    """Groups of responses that follow each other, as the data module draws them.

    Args:
        first: place of this process's first response in the whole batch.
        size: responses of this process.
        whole: responses of all processes.
        per_group: responses to each prompt.
        device: of the rollout.
    """
    places_B = torch.arange(first, first + size, device=device)
    return Groups(places_B // per_group, -(-whole // per_group))


def group_sums(values: Tensor, groups: Groups, total: Total = alone) -> Tensor:
    """Each group's sum [G, ...] over all processes, from one value [B, ...] per response."""
    sums = values.new_zeros(groups.count, *values.shape[1:])
    return total(sums.index_add(0, groups.index_B, values))


def leave_one_out(values_BC: Tensor, counted_B: Tensor, groups: Groups, total: Total = alone) -> Tensor:
    """Each value minus the mean of the *others* in its group [B, C]; 0 where there is no other.

    Args:
        values_BC: one value per response and channel.
        counted_B: False on responses that neither have a value nor are part of others' means.
        groups: which responses belong together.
        total: adds up a tensor over all processes.
    """
    values_BC = torch.where(counted_B.unsqueeze(-1), values_BC, 0.0)
    others_BC = group_sums(values_BC, groups, total)[groups.index_B] - values_BC
    count_B1 = group_sums(counted_B.to(values_BC.dtype), groups, total)[groups.index_B].unsqueeze(-1)
    is_compared_B1 = counted_B.unsqueeze(-1) & (count_B1 > 1)
    return torch.where(is_compared_B1, values_BC - others_BC / (count_B1 - 1).clamp(min=1), 0.0)


def centre(values_BC: Tensor, counted_B: Tensor, groups: Groups, total: Total = alone) -> Tensor:
    """Each value minus its group's mean [B, C]; arguments as :func:`leave_one_out`, 0 where not counted."""
    values_BC = torch.where(counted_B.unsqueeze(-1), values_BC, 0.0)
    sums_GC = group_sums(values_BC, groups, total)
    count_G1 = group_sums(counted_B.to(values_BC.dtype), groups, total).unsqueeze(-1).clamp(min=1)
    return torch.where(counted_B.unsqueeze(-1), values_BC - (sums_GC / count_G1)[groups.index_B], 0.0)


def group_deviation(centred: Tensor, counted_B: Tensor, groups: Groups, total: Total = alone) -> Tensor:
    """The standard deviation ``√(Σ (x - mean)² / n)`` of each response's group, from centred values [B] or [B, C]."""
    squares = group_sums(centred**2, groups, total)
    count_G = group_sums(counted_B.to(centred.dtype), groups, total).clamp(min=1)
    return (squares / count_G.view(-1, *[1] * (centred.dim() - 1))).sqrt()[groups.index_B]


def gae(rewards_BTC: Tensor, values_BTC: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns of every channel (arXiv 1506.02438).

    ``δ_t = r_t + γ V_{t+1} - V_t``, ``A_t = δ_t + γ λ A_{t+1}``, ``G_t = A_t + V_t``. The value after the
    last response token is 0: the answer ends there, also when it was cut off.

    Returns:
        (advantages [B, T, C], returns [B, T, C]), both 0 where the mask is False.
    """
    mask_BT1 = mask_BT.unsqueeze(-1)
    values_BTC = torch.where(mask_BT1, values_BTC, 0.0)
    rewards_BTC = torch.where(mask_BT1, rewards_BTC, 0.0)
    next_BC = torch.zeros_like(values_BTC[:, 0])
    next_advantage_BC = torch.zeros_like(next_BC)
    advantages = []
    for t in reversed(range(values_BTC.shape[1])):
        delta_BC = rewards_BTC[:, t] + gamma * next_BC - values_BTC[:, t]
        next_advantage_BC = delta_BC + gamma * lam * next_advantage_BC
        next_advantage_BC = torch.where(mask_BT1[:, t], next_advantage_BC, 0.0)
        next_BC = values_BTC[:, t]
        advantages.append(next_advantage_BC)
    advantages_BTC = torch.stack(advantages[::-1], dim=1)
    return advantages_BTC, advantages_BTC + values_BTC


def sequence_scores(rewards_BTC: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """What a whole response earns in each channel: the sum of its token rewards, KL included.

    Returns:
        (scores [B, C], True where the response has a token [B]).
    """
    return torch.where(mask_BT.unsqueeze(-1), rewards_BTC, 0.0).sum(dim=1), mask_BT.any(dim=-1)


def spread(values_BC: Tensor, mask_BT: Tensor) -> Tensor:
    """A sequence's value on each of its tokens [B, T, C]; 0 where the mask is False."""
    return torch.where(mask_BT.unsqueeze(-1), values_BC.unsqueeze(1), 0.0)


def mix(
    reward_advantage_BT: Tensor,
    cost_advantage_BTK: Tensor,
    reward_weight: Tensor,
    cost_weight_K: Tensor,
    normaliser: Tensor,
) -> Tensor:
    """``A = (w_r A_r - Σ_k w_k A_ck) / Z`` [B, T] (or [B], of whole sequences).

    Weights and Z are those of all sequences (scalars, [K]), or one set for each ([B], [B, K]).

    The channels are mixed *before* anything is normalised: whitening each alone would rescale λ by
    σ_r / σ_c. Z comes from the penalty; it is constant over a run for a fixed λ.
    """
    if reward_weight.dim() and reward_advantage_BT.dim() > 1:  # a sequence's weights are those of all of its tokens
        reward_weight, normaliser = reward_weight.unsqueeze(-1), normaliser.unsqueeze(-1)
        cost_weight_K = cost_weight_K.unsqueeze(1)
    mixed_BT = reward_weight * reward_advantage_BT - (cost_advantage_BTK * cost_weight_K).sum(dim=-1)
    return mixed_BT / normaliser
