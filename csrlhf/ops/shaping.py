"""From scores to token rewards, one channel each: the KL term per token, the score at the last token.

Legend: B sequences, T response tokens, K constraints, C = 1 + K channels (reward first).
"""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.ops.masking import last_selected


def kl_k1(logprobs_BT: Tensor, reference_logprobs_BT: Tensor) -> Tensor:
    """``log π - log π_ref`` per token: unbiased, high variance, may be negative."""
    return logprobs_BT - reference_logprobs_BT


def kl_k3(logprobs_BT: Tensor, reference_logprobs_BT: Tensor) -> Tensor:
    """``exp(-k1) - 1 + k1`` per token: unbiased, never negative (http://joschu.net/blog/kl-approx.html)."""
    log_ratio_BT = reference_logprobs_BT - logprobs_BT
    return torch.expm1(log_ratio_BT) - log_ratio_BT


def shape_rewards(
    reward_B: Tensor,
    cost_BK: Tensor,
    kl_BT: Tensor,
    mask_BT: Tensor,
    kl_coef: float,
    kl_channels: str = "reward",
    clamp: float | None = None,
) -> Tensor:
    """Token rewards of every channel [B, T, C]; the cost channels hold costs (to be lowered).

    ``r_t = -β k_t`` and the score added at the last response token; costs get ``+β k_t`` with
    ``kl_channels="both"`` (Safe-RLHF's choice, arXiv 2310.12773). A response without tokens gets zeros.

    Args:
        reward_B: one reward per sequence.
        cost_BK: one cost per sequence and constraint.
        kl_BT: per-token KL estimate (k1).
        mask_BT: True on response tokens.
        kl_coef: β.
        kl_channels: which channels pay the KL, ``reward`` or ``both``.
        clamp: bound on the absolute value of the shaped rewards (Safe-RLHF: 50), None for none.
    """
    score_BC = torch.cat([reward_B.unsqueeze(-1), cost_BK], dim=-1)
    sign_C = torch.zeros_like(score_BC[0])
    sign_C[0] = -1.0
    if kl_channels == "both":
        sign_C[1:] = 1.0
    penalty_BTC = kl_coef * torch.where(mask_BT, kl_BT, 0.0).unsqueeze(-1) * sign_C
    at_end_BT1 = last_selected(mask_BT).unsqueeze(-1)
    rewards_BTC = penalty_BTC + torch.where(at_end_BT1, score_BC.unsqueeze(1), 0.0)
    return rewards_BTC if clamp is None else rewards_BTC.clamp(-clamp, clamp)
