"""Gradient checkpointing: a layer keeps its input alone and is computed again in the backward pass.

transformers' own switch works in training mode only, and the roles of PPO stay in evaluation mode, so that dropout is
off; here it is gradients that decide. The results are those without it, for less memory and more time.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from csrlhf.errors import UserError

CACHES = ("past_key_values", "past_key_value", "layer_past")
"""Arguments that a layer would fill twice."""


class _Recomputing(nn.Module):
    """Mixed into a layer's class."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        compute = super().forward  # type: ignore[misc]  # the layer's
        if torch.is_grad_enabled() and all(kwargs.get(name) is None for name in CACHES):
            return checkpoint(partial(compute, **kwargs), *args, use_reentrant=False)
        return compute(*args, **kwargs)


def recompute_layers(model: PreTrainedModel) -> None:
    """Let all layers of a model be computed again in the backward pass, in place.

    Raises:
        UserError: the architecture's layers are not marked as such in transformers.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(
            f"tuning.gradient_checkpointing=true: transformers knows no layers of {model.config.model_type} that could "
            "be computed twice; set it to false"
        )
    for layer in layers:
        layer.__class__ = _recomputing(type(layer))  # type: ignore[assignment]  # a subclass of it


@cache
def _recomputing(kind: type[nn.Module]) -> type[nn.Module]:
    """A layer's class with recomputing, under the same name: transformers tells layers apart by it."""
    return type(kind.__name__, (_Recomputing, kind), {})
