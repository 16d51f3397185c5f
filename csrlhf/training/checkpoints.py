"""Checkpoints hold what is trained. Frozen weights come from their folders, so they are left out and put back.

Buffers (counts, temperatures, the state of a penalty) always stay in.
"""

from __future__ import annotations

from typing import Any

from torch import nn

STATES = ("state_dict", "current_model_state")
"""Where a checkpoint holds weights: the model's, and the newest beside their moving average (Lightning's callback)."""


def leave_out_frozen(module: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Take the frozen parameters out of a checkpoint that is being written."""
    frozen = _frozen(module)
    for name in STATES:
        if name in checkpoint:
            checkpoint[name] = {key: value for key, value in checkpoint[name].items() if key not in frozen}


def put_back_frozen(module: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Complete a checkpoint with the frozen parameters as they were loaded, so that loading stays strict."""
    frozen = _frozen(module)
    kept = {key: value for key, value in module.state_dict().items() if key in frozen}
    for name in STATES:
        if name in checkpoint:
            checkpoint[name] = kept | checkpoint[name]


def _frozen(module: nn.Module) -> set[str]:
    named = module.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}
