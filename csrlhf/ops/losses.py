"""PPO's losses per token, and how token losses become one number.

Aggregation returns a *sum* over this batch with an explicit denominator, so that a loss does not depend
on how the global batch is split over micro-batches or ranks.

Legend: B sequences, T response tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.ops.masking import masked_sum, sequence_mean

AGGREGATIONS = ("sequence", "token")


def clipped_surrogate(logprobs_BT: Tensor, old_logprobs_BT: Tensor, advantage_BT: Tensor, clip: float) -> Tensor:
    """``-min(ρ A, clip(ρ, 1-ε, 1+ε) A)`` per token (arXiv 1707.06347, eq. 7), to be minimised."""
    ratio_BT = torch.exp(logprobs_BT - old_logprobs_BT)
    clipped_BT = ratio_BT.clamp(1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio_BT * advantage_BT, clipped_BT * advantage_BT)


def clipped_value(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """``½ max((V-G)², (clip(V, V_old ± c)-G)²)`` elementwise; ``clip=None`` leaves the plain square."""
    loss = (values - returns) ** 2
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        loss = torch.maximum(loss, (clipped - returns) ** 2)
    return 0.5 * loss


def aggregate(loss_BT: Tensor, mask_BT: Tensor, how: str, denominator: Tensor | float) -> Tensor:
    """Token losses to one number.

    Args:
        loss_BT: loss per token.
        mask_BT: True on response tokens.
        how: ``sequence``: each sequence's token mean, then the batch mean (Safe-RLHF);
            ``token``: the mean over all tokens of the batch.
        denominator: what the sum is divided by: sequences (``sequence``) or tokens (``token``) of the
            *whole* minibatch that this micro-batch belongs to; see :func:`denominator_of`.
    """
    if how == "sequence":
        return sequence_mean(loss_BT, mask_BT).sum() / denominator
    if how == "token":
        return masked_sum(loss_BT, mask_BT) / denominator
    raise ValueError(f"ppo.aggregation={how!r}: choose one of {', '.join(AGGREGATIONS)}")


def denominator_of(mask_BT: Tensor, how: str) -> Tensor:
    """Sequences or tokens selected by a mask, at least 1: the denominator that ``how`` asks for."""
    count = (mask_BT.any(dim=-1) if how == "sequence" else mask_BT).sum()
    return count.clamp(min=1)
