"""Losses of score models (algorithm.md section 5): preferences for rewards, absolute labels for costs.

Legend of suffixes: B sequences or pairs, K constraints.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def bradley_terry_loss(chosen_B: Tensor, rejected_B: Tensor, regularization: float = 0.0) -> Tensor:
    """``mean(-log sigmoid(r_w - r_l)) + rho * mean(r^2)``: the chosen response should score higher.

    Args:
        chosen_B: rewards of the preferred responses.
        rejected_B: rewards of the others.
        regularization: rho. The loss sees differences only; a small rho holds the rewards' level near 0.

    Returns:
        A scalar; log 2 where the model cannot tell the two apart.
    """
    loss = -F.logsigmoid(chosen_B - rejected_B).mean()
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
    target_BK = unsafe_BK * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK)
