"""Which weights of a model are trained: all, the last layers, or low-rank adapters (LoRA, by PEFT).

What is frozen has ``requires_grad`` off: optimisers, checkpoints and distributed training go by that. Saved folders
hold plain weights, adapters merged in, so that every stage and transformers open them alike.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from csrlhf.errors import UserError

# What a parameter's name says of its place: which layer, or an embedding. Names are those of transformers.

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed|(?:^|\.)w[tp]e\.")  # wte and wpe: GPT-2's tokens and positions


def layer_of(name: str) -> int | None:
    """The number of the layer that a parameter belongs to, from 0; None for embeddings, final norms and heads."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None


def is_embedding(name: str) -> bool:
    """True for what stands below the layers: tables of tokens and positions, and the norms beside them."""
    return layer_of(name) is None and _EMBEDDING.search(name) is not None


METHODS = ("full", "lora", "last_n")


class Tuning:
    """A choice of trained weights, applied to a model once it is loaded.

    Example:
        ``Tuning("lora", rank=8).apply(model)``; ``Tuning("last_n", layers=2).apply(model)``.
    """

    def __init__(
        self,
        method: str = "full",
        rank: int | None = None,
        alpha: float | None = None,
        targets: Sequence[str] | None = None,
        layers: int | None = None,
    ) -> None:
        """Check the settings.

        Args:
            method: ``full`` (all weights), ``lora`` (adapters alone) or ``last_n`` (the last layers and the final norm;
                embeddings and language head stay as they are).
            rank: of the adapters (``lora``); None for 16.
            alpha: scale of the adapters, which are multiplied by ``alpha / rank`` (``lora``); None for twice the rank.
            targets: ends of the names of the linear layers that get adapters (``lora``); None for all of them.
            layers: how many of the last layers are trained (``last_n``); None for 2.

        Raises:
            UserError: a value is out of range, or set for a method that does not read it.
        """
        if method not in METHODS:
            raise UserError(f"tuning.method={method}: must be one of {', '.join(METHODS)}")
        readers = {"rank": "lora", "alpha": "lora", "targets": "lora", "layers": "last_n"}
        values = {"rank": rank, "alpha": alpha, "targets": targets, "layers": layers}
        for name, value in values.items():
            if value is not None and method != readers[name]:
                raise UserError(
                    f"tuning.{name}={value}: has no meaning with tuning.method={method}; set "
                    f"tuning.method={readers[name]}, or leave it null"
                )
        for name, kind in {"rank": int, "alpha": int | float, "layers": int}.items():
            value = values[name]
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or value <= 0):
                raise UserError(f"tuning.{name}={value!r}: must be a {'whole ' if kind is int else ''}number above 0")
        self.method, self.layers = method, layers or 2
        self.rank = rank or 16
        self.alpha = alpha or 2 * self.rank
        self.targets = None if targets is None else list(targets)

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze what is not trained, and put adapters in, in place. New adapters change no output yet.

        Raises:
            UserError: PEFT is missing, ``targets`` match nothing, or the model has fewer layers than ``layers``.
        """
        if self.method == "lora":
            self._add_adapters(model)
        elif self.method == "last_n":
            self._freeze_lower_layers(model)

    def _add_adapters(self, model: PreTrainedModel) -> None:
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise UserError(f"tuning.method=lora needs PEFT ({error}); run: pip install 'csrlhf[lora]'") from error
        targets = "all-linear" if self.targets is None else self.targets
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets)  # type: ignore[arg-type]
        with warnings.catch_warnings():
            # GPT-2's layers hold their weights transposed; PEFT sees that, adjusts, and says so.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
            try:
                inject_adapter_in_model(config, model)
            except ValueError as error:
                raise UserError(f"tuning.targets={targets}: {str(error).splitlines()[0]}") from error

    def _freeze_lower_layers(self, model: PreTrainedModel) -> None:
        found = [layer for name, _ in model.named_parameters() if (layer := layer_of(name)) is not None]
        num_layers = 1 + max(found, default=-1)
        if num_layers < self.layers:
            raise UserError(
                f"tuning.layers={self.layers}: {model.config.model_type} has {num_layers} numbered layers; take fewer, "
                "or another tuning.method"
            )
        for name, parameter in model.named_parameters():
            layer = layer_of(name)
            # Vectors outside of the layers are the final norm: behind the last layer, so they are always reached.
            is_final_norm = layer is None and not is_embedding(name) and parameter.ndim == 1
            parameter.requires_grad_(is_final_norm or (layer is not None and layer >= num_layers - self.layers))


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, or a copy with its adapters merged into plain weights where it has some."""
    if not hasattr(model, "peft_config"):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = copy.deepcopy(model)
    with torch.no_grad():
        for name, layer in list(plain.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                parent, _, child = name.rpartition(".")
                base = layer.get_base_layer()
                assert isinstance(base, nn.Module)
                setattr(plain.get_submodule(parent), child, base)
    del plain.peft_config
    return plain


def save_merged(model: PreTrainedModel, folder: str | Path) -> None:
    """Write a model as a Hugging Face folder of plain weights."""
    merged(model).save_pretrained(folder)
