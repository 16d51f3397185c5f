"""Log-probs of sampled tokens from a forward pass over whole sequences, as the update computes them.

The sampler's own log-probs come from single-token steps over a cache. In float32 the two agree to rounding. In half
precision they do not (mean |log ratio| .06 on a random Llama of 8 layers in bf16-mixed): an importance ratio between
them is not 1 for a policy that has not moved, and tokens are clipped before the first step.

Legend: B sequences, T response tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from csrlhf.generation.sampler import Ends, Sampler
from csrlhf.models.frozen_layers import FrozenLayers
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.types import Rollout

LOGITS_PER_PASS = 2**28
"""Logits that are held at a time: a gibibyte in float32."""


@torch.no_grad()
def sequence_logprobs(
    sampler: Sampler,
    model: PreTrainedModel,
    rollout: Rollout,
    ends: Ends,
    truncated: bool = True,
    frozen: FrozenLayers | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probs [B, T] of the sampled tokens under a model, as sampled from and without top-k and top-p.

    In passes over some rows each: the logits of a whole batch over a large vocabulary would be the largest tensor of
    an iteration.

    Args:
        sampler: knows the sampling distribution.
        model: a causal model.
        rollout: whose tokens.
        ends: of a turn.
        truncated: False where only the second is asked for; the first is then the same tensor.
        frozen: layers of the model whose states the rollout holds.

    Returns:
        Under the sampling distribution, and under the same without truncation.
    """
    num_tokens, vocabulary = rollout.response_ids_BT.shape[1], model.config.get_text_config().vocab_size
    sampled, full = [], []
    for rows in torch.arange(len(rollout.rows)).split(max(1, LOGITS_PER_PASS // (num_tokens * vocabulary))):
        part = replace(
            rollout,
            sequence_ids_BS=rollout.sequence_ids_BS[rows],
            sequence_mask_BS=rollout.sequence_mask_BS[rows],
            response_ids_BT=rollout.response_ids_BT[rows],
            states_BSH=None if rollout.states_BSH is None else rollout.states_BSH[rows],
        )
        logits = sampler.response_distribution(model, part, ends, truncate=False, frozen=frozen)
        full.append(gather_logprobs(logits, part.response_ids_BT))
        if truncated and sampler.warp.truncates:
            logits = sampler.warp.truncate(logits)
            sampled.append(gather_logprobs(logits, part.response_ids_BT))
    full_BT = torch.cat(full)
    return (torch.cat(sampled) if sampled else full_BT), full_BT


def computes_alike(model: PreTrainedModel) -> bool:
    """Whether sampling and a forward pass over whole sequences agree to rounding: neither is in half precision."""
    parameter = next(model.parameters())
    if torch.is_autocast_enabled(parameter.device.type):
        return False
    return all(one.dtype.itemsize >= 4 for one in model.parameters() if one.is_floating_point())


def recomputed(
    rollout: Rollout, sampler: Sampler, model: PreTrainedModel, ends: Ends, frozen: FrozenLayers | None = None
) -> Rollout:
    """The rollout with the log-probs of a forward pass over whole sequences beside the sampler's."""
    old_BT, full_BT = sequence_logprobs(sampler, model, rollout, ends, frozen=frozen)
    mask_BT = rollout.response_mask_BT
    return replace(
        rollout,
        old_logprobs_BT=torch.where(mask_BT, old_BT, 0.0),
        full_logprobs_BT=torch.where(mask_BT, full_BT, 0.0),
    )
