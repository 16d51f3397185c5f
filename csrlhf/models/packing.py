"""Real tokens to the left, padding to the right: then every backbone numbers positions as it was trained to.

Rollouts are padded on both sides, training batches on the right. Packing makes them the same input, without
knowing how a backbone counts positions (from 0, from ``pad + 1``, rotary, ALiBi).

Legend of suffixes: B sequences, S padded length, W packed length (the longest row's number of real tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Where each packed column comes from.

    Args:
        mask_BS: True on real tokens, wherever they stand.

    Returns:
        ``index_BW`` (column of the padded input that packed column w reads) and ``packed_mask_BW``. W is at
        least 1, so that an empty row does not produce an empty tensor.
    """
    count_B = mask_BS.sum(1)
    width = max(int(count_B.max()), 1)
    # A stable sort of "is padding" moves real tokens to the front and keeps their order.
    index_BW = torch.sort((~mask_BS).to(torch.uint8), dim=1, stable=True).indices[:, :width]
    packed_mask_BW = torch.arange(width, device=mask_BS.device) < count_B[:, None]
    return index_BW, packed_mask_BW


def unpack(packed_BWK: Tensor, index_BW: Tensor, packed_mask_BW: Tensor, length: int) -> Tensor:
    """Put values per packed token back where the tokens stood; 0 on padding. Returns ``[B, length, K]``."""
    values_BWK = packed_BWK * packed_mask_BW.unsqueeze(-1)
    padded_BSK = packed_BWK.new_zeros(len(packed_BWK), length, packed_BWK.shape[-1])
    return padded_BSK.scatter(1, index_BW.unsqueeze(-1).expand_as(values_BWK), values_BWK)
