"""Reductions and shifts that look only at what a mask selects.

Legend: B sequences, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the selected tokens of the whole batch (scalar); 0 where nothing is selected."""
    return masked_sum(values_BT, mask_BT) / mask_BT.sum().clamp(min=1)


def masked_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over the selected tokens (scalar). ``where``, not a product: 0 * inf at padding would be NaN."""
    return torch.where(mask_BT, values_BT, 0.0).sum()


def sequence_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over each sequence's selected tokens [B]; 0 for an empty sequence."""
    return sequence_sum(values_BT, mask_BT) / mask_BT.sum(dim=-1).clamp(min=1)


def sequence_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over each sequence's selected tokens [B]."""
    return torch.where(mask_BT, values_BT, 0.0).sum(dim=-1)


def masked_whiten(values_BT: Tensor, mask_BT: Tensor, eps: float = 1e-8) -> Tensor:
    """Zero mean and unit variance over the selected tokens; 0 elsewhere."""
    mean = masked_mean(values_BT, mask_BT)
    variance = masked_mean((values_BT - mean) ** 2, mask_BT)
    return torch.where(mask_BT, (values_BT - mean) * torch.rsqrt(variance + eps), 0.0)


def masked_scale(values_BT: Tensor, mask_BT: Tensor, eps: float = 1e-8) -> Tensor:
    """Unit root mean square over the selected tokens, the mean left alone; 0 elsewhere."""
    mean_square = masked_mean(values_BT**2, mask_BT)
    return torch.where(mask_BT, values_BT * torch.rsqrt(mean_square + eps), 0.0)


def last_selected(mask_BT: Tensor) -> Tensor:
    """True at the last selected token of each row [B, T]; all False in an empty row."""
    after_BT = mask_BT.flip(-1).cumsum(-1).flip(-1)
    return mask_BT & (after_BT == 1)


def through_first(is_end_BT: Tensor) -> Tensor:
    """True up to and including the first True of each row: the response mask, end token included.

    Reading the mask from the sampled end token (and not from ``ids != pad``) keeps it right where the
    padding token is the end token.
    """
    ends_before_BT = is_end_BT.long().cumsum(-1) - is_end_BT.long()
    return ends_before_BT == 0
