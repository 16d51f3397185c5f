"""Optimisers and schedules: plain numbers in, parameter groups, an optimiser and a schedule out.

``optimizer=`` chooses the kind of AdamW; rates, decay and betas are each stage's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from csrlhf.errors import UserError
from csrlhf.models.tuning import is_embedding, layer_of

BLOCK = 256
"""Elements that share a scale in an 8-bit state."""

Groups = list[dict[str, Any]]
"""Parameter groups: ``params``, ``lr``, ``weight_decay``, and ``embedding`` (True where all are embeddings)."""


class OptimizerKind(Protocol):
    """Makes an optimiser over parameter groups.

    Attributes:
        can_fuse: whether it has a form of one kernel per group.
    """

    can_fuse: bool

    def __call__(self, groups: Groups, lr: float, betas: tuple[float, float], fused: bool) -> Optimizer: ...

    def state_bytes(self, name: str, parameter: nn.Parameter, weight_bytes: int) -> int:
        """Bytes of state that a parameter of this name will have (``python -m csrlhf.memory``)."""
        ...


class AdamW:
    """PyTorch's AdamW, states in the precision of the weights."""

    can_fuse = True

    def __call__(self, groups: Groups, lr: float, betas: tuple[float, float], fused: bool) -> Optimizer:
        """Build it.

        Args:
            groups: of parameters.
            lr: of groups without a rate of their own.
            betas: decay of the first and the second moment.
            fused: one kernel per group.
        """
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused)
        if fused:
            # A fused step can divide gradients by a loss scale itself, and Lightning refuses to clip what may still be
            # scaled. Without the offer, gradients are unscaled before the clipping, which is right in every precision.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        return optimizer

    def state_bytes(self, name: str, parameter: nn.Parameter, weight_bytes: int) -> int:
        """Two moments in the weights' precision."""
        return 2 * weight_bytes * parameter.numel()


class AdamW8bit:
    """AdamW of bitsandbytes: both states in 8 bits, in blocks of 256 with a scale each (arXiv 2110.02861).

    Embeddings keep 32-bit states, as that paper recommends: their gradients are sparse and uneven.

    Args:
        min_8bit_size: tensors with fewer elements keep 32-bit states: they save little, and norms and biases suffer.

    Raises:
        UserError: ``min_8bit_size`` is negative.
    """

    can_fuse = False

    def __init__(self, min_8bit_size: int = 4096) -> None:
        if min_8bit_size < 0:
            raise UserError(f"optimizer.min_8bit_size={min_8bit_size}: must be 0 or above")
        self.min_8bit_size = min_8bit_size

    def __call__(self, groups: Groups, lr: float, betas: tuple[float, float], fused: bool) -> Optimizer:
        """Build it; arguments as in ``AdamW``, ``fused`` always False.

        Raises:
            UserError: bitsandbytes is missing, or weights are in 64 bits.
        """
        if any(parameter.dtype == torch.float64 for group in groups for parameter in group["params"]):
            raise UserError(
                "optimizer=adamw_8bit: weights are in 64 bits; use optimizer=adamw or another trainer.precision"
            )
        try:
            from csrlhf.training.blockwise import BlockwiseAdamW
        except ImportError as error:
            raise UserError(
                f"optimizer=adamw_8bit needs bitsandbytes ({error}); "
                "run: pip install bitsandbytes, or use optimizer=adamw"
            ) from error
        return BlockwiseAdamW(groups, lr=lr, betas=betas, min_8bit_size=self.min_8bit_size)

    def state_bytes(self, name: str, parameter: nn.Parameter, weight_bytes: int) -> int:
        """Two moments of a byte each and their scales, or of four bytes where they stay in 32 bits."""
        size = parameter.numel()
        if is_embedding(name) or size < self.min_8bit_size:
            return 8 * size
        return 2 * (size + 4 * math.ceil(size / BLOCK))


SCHEDULES = ("constant", "linear", "cosine")


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    weight_decay: float = 0.01,
    layer_decay: float = 1.0,
    head_lr_factor: float = 1.0,
    beta2: float = 0.999,
    fused: bool = False,
    kind: OptimizerKind | None = None,
    **unknown: object,
) -> Optimizer:
    """An optimiser over the parameters that require a gradient, grouped by learning rate and weight decay.

    Args:
        named_parameters: of the whole model.
        lr: peak learning rate, > 0.
        weight_decay: on matrices only, never on biases, norms and other vectors.
        layer_decay: a backbone layer's rate is ``layer_decay`` times that of the layer above it, the embeddings
            are the lowest layer. 1 treats all alike.
        head_lr_factor: rate of parameters in a submodule called ``head``, over ``lr``: a score head starts from
            nothing, the backbone does not.
        beta2: decay of the second moment.
        fused: one kernel per group: several times faster on a CPU; ``AdamW`` only.
        kind: which optimiser; None for ``AdamW``.
        unknown: settings that do not exist, to be refused by name.

    Raises:
        UserError: a number is out of its range, or a setting does not exist; the message names the key.

    Example:
        ``build_optimizer(model.named_parameters(), lr=5e-5)``.
    """
    check_optimizer(lr, weight_decay, layer_decay, head_lr_factor, beta2, fused, kind, **unknown)
    parameters = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
    num_layers = 1 + max((layer for name, _ in parameters if (layer := layer_of(name)) is not None), default=-1)
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        factor = head_lr_factor if "head" in name.split(".") else layer_decay ** _depth(name, num_layers)
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((lr * factor, decay, is_embedding(name)), []).append(parameter)
    made = [
        {"params": members, "lr": rate, "weight_decay": decay, "embedding": embedding}
        for (rate, decay, embedding), members in groups.items()
    ]
    return (kind or AdamW())(made, lr=lr, betas=(0.9, beta2), fused=fused)


def check_optimizer(
    lr: float,
    weight_decay: float = 0.01,
    layer_decay: float = 1.0,
    head_lr_factor: float = 1.0,
    beta2: float = 0.999,
    fused: bool = False,
    kind: OptimizerKind | None = None,
    **unknown: object,
) -> None:
    """Look at the settings of ``build_optimizer`` without building anything; arguments and errors are its."""
    _refuse("optimizer", unknown)
    _check("lr", lr, lr > 0, "above 0")
    _check("weight_decay", weight_decay, weight_decay >= 0, "0 or above")
    _check("layer_decay", layer_decay, 0 < layer_decay <= 1, "in (0, 1]")
    _check("head_lr_factor", head_lr_factor, head_lr_factor > 0, "above 0")
    _check("beta2", beta2, 0 < beta2 < 1, "in (0, 1)")
    if fused and kind is not None and not kind.can_fuse:
        raise UserError(
            "optimizer setting fused=true: only optimizer=adamw has a fused form; set fused=false in the stage's "
            "settings, cost.optimizer.fused=false for example"
        )


def build_schedule(
    optimizer: Optimizer, num_steps: int, kind: str = "linear", warmup: float = 0.0, **unknown: object
) -> LambdaLR:
    """The learning rate's factor at each optimiser step; advance it once per step.

    Args:
        optimizer: whose groups' rates are scaled.
        num_steps: optimiser steps of the whole run.
        kind: after the warm-up: ``constant``, or ``linear`` or ``cosine`` down to 0 at the last step.
        warmup: share of all steps in which the rate climbs from 0, in [0, 1).
        unknown: settings that do not exist, to be refused by name.

    Raises:
        UserError: ``kind`` or ``warmup`` is out of its range, or a setting does not exist.
    """
    _refuse("schedule", unknown)
    _check("schedule", kind, kind in SCHEDULES, f"one of {', '.join(SCHEDULES)}")
    _check("warmup", warmup, 0 <= warmup < 1, "in [0, 1)")
    warmup_steps = round(warmup * num_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if kind == "constant":
            return 1.0
        progress = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
        return 1.0 - progress if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def _check(key: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise UserError(f"optimizer setting {key}={value!r}: must be {allowed}")


def _refuse(mapping: str, unknown: dict[str, object]) -> None:
    if unknown:
        raise UserError(f"{mapping} setting {', '.join(unknown)}: there is no such setting")


def _depth(name: str, num_layers: int) -> int:
    """Layers between a parameter and the top: embeddings lie under layer 0, a final norm beside the last layer."""
    layer = layer_of(name)
    if layer is None:
        layer = -1 if is_embedding(name) else num_layers - 1
    return num_layers - 1 - layer
