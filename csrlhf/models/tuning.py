"""Which weights of a model are trained: all, the last layers, low-rank adapters (LoRA, by PEFT), or none.

What is frozen has ``requires_grad`` off: optimisers, checkpoints and distributed training go by that. Saved folders
hold plain weights, adapters merged in, so that every stage and transformers open them alike.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from csrlhf.errors import UserError
from csrlhf.models.gradient_checkpointing import recompute_layers
from csrlhf.models.settings import Tuning, TuningMethod

# What a parameter's name says of its place: which layer, or an embedding. Names are those of transformers.

LAYERS = r"(?:layers?|h|blocks?)"
"""What a list of layers is called."""
_LAYER = re.compile(rf"(?:^|\.){LAYERS}\.(\d+)\.")
_EMBEDDING = re.compile(r"embed|(?:^|\.)w[tp]e\.")  # wte and wpe: GPT-2's tokens and positions


def layer_of(name: str) -> int | None:
    """The number of the layer that a parameter belongs to, from 0; None for embeddings, final norms and heads."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def is_embedding(name: str) -> bool:
    """True for what stands below the layers: tables of tokens and positions, and the norms beside them."""
    return layer_of(name) is None and _EMBEDDING.search(name) is not None


def first_trained_layer(model: nn.Module) -> int | None:
    """The number of the lowest layer that is trained or lies above what is trained; None where nothing is."""
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    if any(is_embedding(name) for name in trained):
        return 0
    return min((layer for name in trained if (layer := layer_of(name)) is not None), default=None)


def tune(model: PreTrainedModel, tuning: Tuning) -> None:
    """Freeze what is not trained, and put adapters in, in place. New adapters change no output yet.

    Raises:
        UserError: PEFT is missing, ``targets`` match nothing, the model has fewer layers than ``layers``, or none that
            can be computed twice.
    """
    if tuning.method == TuningMethod.lora:
        _add_adapters(model, tuning)
    elif tuning.method == TuningMethod.last_n:
        _freeze_lower_layers(model, tuning.layers or 2)
    elif tuning.method == TuningMethod.frozen:
        model.requires_grad_(False)
    if tuning.gradient_checkpointing:
        recompute_layers(model)


def _add_adapters(model: PreTrainedModel, tuning: Tuning) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(f"tuning.method=lora needs PEFT ({error}); run: pip install 'csrlhf[lora]'") from error
    targets = "all-linear" if tuning.targets is None else list(tuning.targets)
    rank = tuning.rank or 16
    below = None
    if tuning.layers is not None:
        lowest = _number_of_layers(model, tuning.layers) - tuning.layers
        below = rf"(?:.*\.)?{LAYERS}\.(?:{'|'.join(map(str, range(lowest)))})\..*" if lowest else None
    asked: dict[str, Any] = {"lora_alpha": tuning.alpha or 2 * rank, "target_modules": targets}
    config = LoraConfig(r=rank, exclude_modules=below, **asked)
    with warnings.catch_warnings():
        # GPT-2's layers hold their weights transposed; PEFT sees that, adjusts, and says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        try:
            inject_adapter_in_model(config, model)
        except ValueError as error:
            raise UserError(f"tuning.targets={targets}: {str(error).splitlines()[0]}") from error


def _number_of_layers(model: PreTrainedModel, needed: int) -> int:
    found = [layer for name, _ in model.named_parameters() if (layer := layer_of(name)) is not None]
    num_layers = 1 + max(found, default=-1)
    if num_layers < needed:
        raise UserError(
            f"tuning.layers={needed}: {model.config.model_type} has {num_layers} numbered layers; take fewer, "
            "or another tuning.method"
        )
    return num_layers


def _freeze_lower_layers(model: PreTrainedModel, count: int) -> None:
    num_layers = _number_of_layers(model, count)
    for name, parameter in model.named_parameters():
        layer = layer_of(name)
        # Vectors outside of the layers are the final norm: behind the last layer, so they are always reached.
        is_final_norm = layer is None and not is_embedding(name) and parameter.ndim == 1
        parameter.requires_grad_(is_final_norm or (layer is not None and layer >= num_layers - count))


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, or one with its adapters merged into plain weights where it has some.

    That one shares every tensor with the model but the matrices that an adapter changes.
    """
    if not hasattr(model, "peft_config"):
        return model
    from peft.tuners.lora import LoraLayer

    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    plain = copy.deepcopy(model, memo=shared)  # type: ignore[arg-type]  # of ids, as deepcopy keeps them itself
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, LoraLayer):
            base: Any = layer.get_base_layer()
            with torch.no_grad():
                change = sum(layer.get_delta_weight(adapter) for adapter in layer.active_adapters)  # type: ignore[operator]
                base.weight = nn.Parameter((base.weight + change).to(base.weight.dtype), requires_grad=False)
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, base)
    del plain.peft_config
    return plain


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model computes what it did before adapters were put in; no gradients there."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def save_merged(model: PreTrainedModel, folder: str | Path) -> None:
    """Write a model as a Hugging Face folder of plain weights."""
    merged(model).save_pretrained(folder)
