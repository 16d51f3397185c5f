"""Losses of score models (algorithm.md section 5): preferences for rewards, labels or labelled pairs for costs.

Legend of suffixes: B sequences or pairs, K constraints.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
