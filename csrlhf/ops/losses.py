"""Losses: PPO's per token and how they become one number, and those of score models.

Aggregation returns a *sum* over this batch with an explicit denominator, so that a loss does not depend
on how the global batch is split over micro-batches or ranks.

Legend: B sequences, T response tokens, K constraints, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from csrlhf.ops.masking import masked_sum, sequence_mean

AGGREGATIONS = ("sequence", "token")


LARGEST_RATIO = 1e30
"""A ratio beyond it is cut: its value is capped anyway, and infinity has no gradient."""

RATIOS = ("token", "sequence")
"""What an importance ratio belongs to: each token, or the whole response."""


def importance_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor, mask_BT: Tensor, level: str = "token") -> Tensor:
    """ρ per token [B, T]: its own, or that of its sequence.

    ``sequence`` is the geometric mean over the response's tokens, ``exp(mean_t log ρ_t)`` (GSPO, arXiv 2507.18071,
    eq. 7): a cost is one number per response. Its gradient goes through each token's own log-prob, so that tokens may
    have advantages of their own (eq. 14 there); where these are one, the two forms are the same.

    Args:
        logprobs_BT: of the policy as it is.
        old_logprobs_BT: of the policy that sampled.
        mask_BT: tokens that count in the mean.
        level: one of ``RATIOS``.
    """
    if level == "token":
        return torch.exp(logprobs_BT - old_logprobs_BT)
    mean_B1 = sequence_mean((logprobs_BT - old_logprobs_BT).detach(), mask_BT).unsqueeze(-1)
    return torch.exp(mean_B1 + logprobs_BT - logprobs_BT.detach())


def truncate_ratio(ratio_BT: Tensor, cap: float) -> Tensor:
    """``min(cap, ρ)`` in the value; the gradient is that of a score function with this weight, not 0 past the cap."""
    ratio_BT = ratio_BT.clamp(max=LARGEST_RATIO)  # infinity times 0 would be no number
    return ratio_BT * (cap / ratio_BT.detach()).clamp(max=1.0)


def importance_weight(old_logprobs_BT: Tensor, sampled_logprobs_BT: Tensor, cap: float) -> Tensor:
    """``min(cap, π_old / π_sampler)`` [B, T]: corrects for a sampler that computes otherwise than the update.

    Truncated importance sampling (Ionides 2008, doi 10.1198/106186008X320456): without the cap the variance of a
    product of such weights has no bound.

    Args:
        old_logprobs_BT: of the policy that sampled, as the update computes them; ``EXCLUDED`` weighs 0.
        sampled_logprobs_BT: as the sampler did.
        cap: the bound.
    """
    return torch.exp(old_logprobs_BT - sampled_logprobs_BT).clamp(max=cap)


def clipped(ratio_BT: Tensor, advantage_BT: Tensor, clip: float) -> Tensor:
    """``-min(ρ A, clip(ρ, 1-ε, 1+ε) A)`` per token (arXiv 1707.06347, eq. 7), to be minimised."""
    return -torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1.0 - clip, 1.0 + clip) * advantage_BT)


def clipped_surrogate(logprobs_BT: Tensor, old_logprobs_BT: Tensor, advantage_BT: Tensor, clip: float) -> Tensor:
    """:func:`clipped` of each token's own ratio."""
    return clipped(torch.exp(logprobs_BT - old_logprobs_BT), advantage_BT, clip)


def separate_surrogate(
    ratio_BT: Tensor,
    reward_advantage_BT: Tensor,
    cost_advantage_BTK: Tensor,
    reward_weight: Tensor,
    cost_weight_K: Tensor,
    normaliser: Tensor,
    clip: float,
) -> Tensor:
    """P3O's loss per token, to be minimised: the reward's term is clipped, the costs' is not.

    ``(-min(ρ w_r A_r, clip(ρ, 1-ε, 1+ε) w_r A_r) + Σ_k w_k ρ A_ck) / Z``, after arXiv 2205.11814. Unclipped, the costs
    are the surrogate that the weights were asked with (:func:`surrogate_shift`): a policy past the clip is still drawn
    back.
    """
    reward_BT = clipped(ratio_BT, reward_weight * reward_advantage_BT, clip)
    cost_BT = ratio_BT * (cost_advantage_BTK * cost_weight_K).sum(dim=-1)
    return (reward_BT + cost_BT) / normaliser


def surrogate_shift(
    logprobs_BT: Tensor, old_logprobs_BT: Tensor, cost_advantage_BTK: Tensor, mask_BT: Tensor
) -> Tensor:
    """``Σ_t (ρ_t - 1) A_ck,t`` summed over the sequences [K]: how far the costs have moved since the rollout."""
    moved_BT = torch.expm1(logprobs_BT - old_logprobs_BT)
    moved_BTK = torch.where(mask_BT.unsqueeze(-1), moved_BT.unsqueeze(-1) * cost_advantage_BTK, 0.0)
    return moved_BTK.sum(dim=(0, 1))


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


# Losses of score models (algorithm.md section 5): preferences for rewards, labels or labelled pairs for costs.


def bradley_terry_loss(
    chosen_B: Tensor, rejected_B: Tensor, regularization: float = 0.0, margin: Tensor | float = 0.0
) -> Tensor:
    """``mean(-log sigmoid(r_w - r_l - m)) + rho * mean(r^2)``: the chosen response should score higher, by m or more.

    Args:
        chosen_B: rewards of the preferred responses.
        rejected_B: rewards of the others.
        regularization: rho. The loss sees differences only; a small rho holds the rewards' level near 0.
        margin: m >= 0, one for all pairs or one for each [B] (arXiv 2307.09288, eq. 2).

    Returns:
        A scalar; log 2 where each pair's difference is its margin (without one: where the model cannot tell the two
        apart).
    """
    loss = -F.logsigmoid(chosen_B - rejected_B - margin).mean()
    if regularization:
        loss = loss + regularization * torch.cat([chosen_B, rejected_B]).square().mean()
    return loss


def semantic_cost_loss(logits_BK: Tensor, unsafe_BK: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of absolute Safe/Unsafe labels, the mean over sequences and constraints.

    Args:
        logits_BK: cost logits, > 0 means unsafe.
        unsafe_BK: 1.0 where the constraint is violated.
        label_smoothing: labels become ``s / 2`` and ``1 - s / 2``; bounds the logits that pay off.

    Returns:
        A scalar; log 2 at logits 0.
    """
    return F.binary_cross_entropy_with_logits(logits_BK, _smoothed(unsafe_BK, label_smoothing))


def pairwise_cost_loss(
    first_BK: Tensor,
    second_BK: Tensor,
    order_BK: Tensor,
    first_unsafe_BK: Tensor,
    second_unsafe_BK: Tensor,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Safe-RLHF's cost loss (arXiv 2310.12773, eq. 8): a comparison, and the sign of either cost.

    ``-log sigmoid(c_unsafer - c_safer) - log sigmoid(s_a c_a) - log sigmoid(s_b c_b)`` with ``s = +1`` for an unsafe
    response and ``-1`` for a safe one. Each of the three terms is a binary cross-entropy, so ``label_smoothing`` means
    the same in all of them, and 0 is the paper's loss.

    Args:
        first_BK: cost logits of each pair's first response, > 0 means unsafe.
        second_BK: of its second response.
        order_BK: +1 where the first response is the more harmful one, -1 where the second is, 0 if not compared:
            there the comparison is left out.
        first_unsafe_BK: 1.0 where the first response violates the constraint.
        second_unsafe_BK: likewise of the second.
        label_smoothing: as in ``semantic_cost_loss``.

    Returns:
        A scalar, the mean over pairs and constraints; at logits 0 it is 3 log 2 (2 log 2 without comparisons).
    """
    first_worse_BK = _smoothed((order_BK > 0).to(first_BK.dtype), label_smoothing)
    comparison_BK = F.binary_cross_entropy_with_logits(first_BK - second_BK, first_worse_BK, reduction="none")
    signs = semantic_cost_loss(first_BK, first_unsafe_BK, label_smoothing) + semantic_cost_loss(
        second_BK, second_unsafe_BK, label_smoothing
    )
    return (comparison_BK * order_BK.abs()).mean() + signs


def _smoothed(target_BK: Tensor, label_smoothing: float) -> Tensor:
    """Targets 0 and 1 moved to ``s / 2`` and ``1 - s / 2``."""
    return target_BK * (1.0 - label_smoothing) + 0.5 * label_smoothing
