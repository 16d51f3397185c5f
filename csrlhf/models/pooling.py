"""From one hidden vector per token to one per sequence. Inputs are packed: real tokens first, padding after.

Legend of suffixes: B sequences, S tokens, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from csrlhf.errors import UserError

Pooling = Callable[[Tensor, Tensor], Tensor]


def pool_last(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The last real token's vector: in a causal model the only one that has read everything."""
    last_B = (mask_BS.sum(1) - 1).clamp(min=0)
    return hidden_BSH[torch.arange(len(hidden_BSH), device=hidden_BSH.device), last_B]


def pool_mean(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The mean over real tokens (zero for a row without any)."""
    weight_BS1 = mask_BS.unsqueeze(-1).to(hidden_BSH.dtype)
    return (hidden_BSH * weight_BS1).sum(1) / weight_BS1.sum(1).clamp(min=1)


def pool_cls(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The first token's vector: an encoder's classification token."""
    return hidden_BSH[:, 0]


POOLINGS: dict[str, Pooling] = {"last": pool_last, "mean": pool_mean, "cls": pool_cls}


def get_pooling(name: str) -> Pooling:
    """The pooling function of that name.

    Raises:
        UserError: there is none; the message lists them.
    """
    if name not in POOLINGS:
        raise UserError(f"model.score.pooling={name!r} is unknown: choose one of {', '.join(POOLINGS)}")
    return POOLINGS[name]
