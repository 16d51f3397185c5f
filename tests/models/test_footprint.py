"""Memory by hand counts, and against what PyTorch really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from csrlhf.models.footprint import (
    Held,
    activation_bytes,
    cache_bytes,
    cast_bytes,
    empty_policy,
    empty_trunk,
    frozen_depth,
    held_bytes,
)
from csrlhf.models.settings import Tuning
from csrlhf.models.tuning import tune
from csrlhf.training.optim import AdamW, AdamW8bit, build_optimizer
from csrlhf.training.settings import OptimizerSettings

SIZES = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
LAYER = 4 * 64 * 64 + 3 * 64 * 192
"""Weights in the matrices of a layer: four of the attention, three of the gated part."""


def config(kind: str = "llama", **changes: Any) -> Any:
    return AutoConfig.for_model(kind, vocab_size=100, tie_word_embeddings=True, **(SIZES | changes))


def test_weights_gradients_and_states_by_hand() -> None:
    policy = empty_policy(config())
    count = 100 * 64 + 2 * (LAYER + 2 * 64) + 64  # tied table, layers with two norms, final norm
    assert held_bytes(policy, 4, AdamW().state_bytes) == Held(4 * count, 4 * count, 8 * count)
    assert held_bytes(policy, 2, AdamW().state_bytes) == Held(2 * count, 2 * count, 4 * count)
    assert held_bytes(policy, 4, None) == Held(4 * count)
    assert held_bytes(empty_trunk(config()), 4, None, num_outputs=2) == Held(4 * (count + 2 * 65))


def test_frozen_weights_have_no_gradients_and_no_states() -> None:
    policy = empty_policy(config())
    tune(policy, Tuning("lora", rank=2))
    adapters = 2 * 2 * (4 * (64 + 64) + 3 * (64 + 192))  # layers x rank x (both ends of seven matrices)
    held = held_bytes(policy, 4, AdamW().state_bytes)
    assert (held.gradients, held.states) == (4 * adapters, 8 * adapters)
    policy = empty_policy(config())
    assert frozen_depth(policy) == 0
    tune(policy, Tuning("last_n", layers=1))
    assert frozen_depth(policy) == 1
    assert held_bytes(policy, 4, AdamW().state_bytes).gradients == 4 * (LAYER + 2 * 64 + 64)


@pytest.mark.parametrize("kind", [AdamW(), AdamW8bit()])
def test_states_are_those_that_a_step_makes(kind: Any) -> None:
    model = AutoModel.from_config(config())
    optimizer = build_optimizer(model.named_parameters(), OptimizerSettings(kind, 1e-3))
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    shared = {"qmap1", "qmap2", "step"}  # tables that all tensors share; a count
    kept = sum(
        value.nbytes
        for state in optimizer.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and name not in shared
    )
    assert held_bytes(model, 4, kind.state_bytes).states == kept


def kept_per_token_and_layer(kind: str, autocast: bool, **sizes: Any) -> float:
    """Bytes that one more layer keeps for the backward pass, per token."""
    totals = []
    for num_layers in (1, 2):
        model = AutoModel.from_config(config(kind, num_hidden_layers=num_layers, **sizes)).eval()
        own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor, own: set[int] = own, kept: dict[int, torch.Tensor] = kept) -> torch.Tensor:
            pointer = tensor.untyped_storage().data_ptr()
            if pointer not in own and tensor.is_floating_point():
                kept[pointer] = tensor
            return tensor

        ids = torch.zeros(4, 64, dtype=torch.long)
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False):
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        cast = cast_bytes(model, 4, 2) if autocast else 0
        totals.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) - cast)
    return (totals[1] - totals[0]) / ids.numel()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("autocast", [False, True])
def test_activations_are_those_that_pytorch_keeps(kind: str, autocast: bool) -> None:
    sizes = {"num_key_value_heads": 2}
    per_layer = activation_bytes(config(kind, num_hidden_layers=1, **sizes), 1, 4, 2 if autocast else 4)
    assert per_layer == pytest.approx(kept_per_token_and_layer(kind, autocast, **sizes), rel=0.08)


def test_activations_logits_and_cache_by_hand() -> None:
    grouped = config(num_key_value_heads=2)
    layer = 4 * (6 * 64 + 2 * 64 + 2 * 32 + 4 * 192)
    assert activation_bytes(grouped, 10, 4, 4) == 10 * 2 * layer
    assert activation_bytes(grouped, 10, 4, 4, num_logits=3) == 10 * 2 * layer + 3 * 100 * 20
    assert activation_bytes(grouped, 10, 4, 4, recomputed=True) == 10 * (2 * 64 * 4 + layer)  # two inputs, one layer
    mixed = 4 * 6 * 64 + 2 * (2 * 64 + 2 * 32 + 4 * 192)
    assert activation_bytes(grouped, 10, 4, 4, frozen=1) == 10 * layer  # no gradient reaches the first one
    assert activation_bytes(grouped, 10, 4, 2, num_logits=3) == 10 * 2 * mixed + 3 * 100 * 18
    assert cache_bytes(grouped, 10, 2) == 10 * 2 * 2 * 32 * 2
    assert cast_bytes(empty_policy(config()), 4, 2) == 2 * (2 * LAYER + 100 * 64)
    assert cast_bytes(empty_trunk(config()), 4, 2) == 2 * 2 * LAYER
    assert cast_bytes(empty_trunk(config()), 4, 4) == 0
