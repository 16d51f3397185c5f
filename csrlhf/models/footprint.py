"""How much memory training a model takes, from its configuration alone: nothing is loaded or downloaded.

Weights, gradients and optimiser states are counted tensor by tensor on the meta device. Activations are a formula for
transformers with gated layers (Llama, Qwen2, Mistral, Gemma); the working space of kernels is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel

from csrlhf.models.tuning import first_trained_layer, is_embedding

StateBytes = Callable[[str, nn.Parameter, int], int]
"""Bytes of optimiser state of a named parameter whose elements have so many bytes."""


@dataclass(frozen=True)
class Held:
    """Bytes that a model holds all through a stage.

    Attributes:
        weights: all parameters.
        gradients: of the trained ones.
        states: of the optimiser.
    """

    weights: int
    gradients: int = 0
    states: int = 0

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.gradients + self.states


def empty_policy(config: Any) -> PreTrainedModel:
    """A causal model with its head, without storage."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def empty_trunk(config: Any) -> PreTrainedModel:
    """A model without head and pooler, without storage."""
    with torch.device("meta"):
        trunk = AutoModel.from_config(config)
    if getattr(trunk, "pooler", None) is not None:
        trunk.pooler = None
    return trunk


def held_bytes(model: nn.Module, weight_bytes: int, state_bytes: StateBytes | None, num_outputs: int = 0) -> Held:
    """What a model holds.

    Args:
        model: with ``requires_grad`` off on what is frozen.
        weight_bytes: per element of weights and gradients.
        state_bytes: of the optimiser; None for a model that is not trained.
        num_outputs: K, of a score head on top (its few weights are counted as weights only).
    """
    parameters = list(model.named_parameters())
    head = num_outputs * (model.config.get_text_config().hidden_size + 1) if num_outputs else 0  # type: ignore[union-attr]
    weights = weight_bytes * (head + sum(parameter.numel() for _, parameter in parameters))
    if state_bytes is None:
        return Held(weights)
    trained = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    return Held(
        weights,
        gradients=weight_bytes * sum(parameter.numel() for _, parameter in trained),
        states=sum(state_bytes(name, parameter, weight_bytes) for name, parameter in trained),
    )


def activation_bytes(
    config: Any,
    num_tokens: int,
    weight_bytes: int,
    compute_bytes: int,
    num_logits: int = 0,
    recomputed: bool = False,
    frozen: int = 0,
) -> int:
    """What a forward pass keeps for its backward pass.

    Per token and layer: two norms keep 3 vectors of the hidden size h each in the weights' precision; the attention
    keeps queries and its output (h_q each), keys and values (h_kv each), the gated layer 4 vectors of its size f, in
    the precision of computing. Per logit: itself in that precision, and softmax, entropy and gradient as four tensors
    in 32 bits.

    Args:
        config: of the model.
        num_tokens: of a batch, padding included.
        weight_bytes: per element of weights.
        compute_bytes: per element of what layers compute; 2 under ``bf16-mixed``.
        num_logits: tokens for which logits over the vocabulary are kept; 0 for score models.
        recomputed: with gradient checkpointing: each layer's input, and all of one layer at a time.
        frozen: layers below all that is trained, which keep nothing (:func:`frozen_depth`).
    """
    text = config.get_text_config()
    q, kv = _attention_sizes(text)
    ffn = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    layer = weight_bytes * 6 * text.hidden_size + compute_bytes * (2 * q + 2 * kv + 4 * ffn)
    depth = text.num_hidden_layers - frozen
    kept = depth * weight_bytes * text.hidden_size + layer if recomputed else depth * layer
    return num_tokens * kept + num_logits * text.vocab_size * (compute_bytes + 16)


def frozen_depth(model: nn.Module) -> int:
    """How many layers lie below all that is trained: no gradient reaches them."""
    return first_trained_layer(model) or 0


def cast_bytes(model: PreTrainedModel, weight_bytes: int, compute_bytes: int) -> int:
    """Copies of the matrices in the precision of computing, which autocast keeps until the backward pass."""
    if compute_bytes == weight_bytes:
        return 0
    matrices = {
        id(weight): weight for name, weight in model.named_parameters() if weight.ndim > 1 and not is_embedding(name)
    }
    head = model.get_output_embeddings()
    if head is not None:  # the table of tokens itself, where the two are tied
        matrices[id(head.weight)] = head.weight  # type: ignore[assignment]  # a Linear
    return compute_bytes * sum(weight.numel() for weight in matrices.values())


def cache_bytes(config: Any, num_tokens: int, compute_bytes: int) -> int:
    """The key-value cache of decoding: keys and values (h_kv each) per token and layer."""
    text = config.get_text_config()
    return num_tokens * text.num_hidden_layers * 2 * _attention_sizes(text)[1] * compute_bytes


def _attention_sizes(text: Any) -> tuple[int, int]:
    """Widths of all query heads and of all key heads together."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    num_key_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return head * text.num_attention_heads, head * num_key_heads
