"""Which of Lightning's strategies may train: those under which the tests find what one process finds.

A strategy says how processes share the work, and is no part of the fingerprint. One that splits the weights (FSDP,
DeepSpeed, tensor parallelism) or averages them now and then would publish one process's share, or weights that are not
the others', as the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from csrlhf.errors import UserError

DDP = ("lightning.pytorch.strategies.DDPStrategy", "lightning.pytorch.strategies.ddp.DDPStrategy")
"""Every process holds all weights, and gradients are averaged in every step: tests/test_several_processes.py."""

NAMES = {
    "auto": "one process; several without a named strategy are refused when the trainer is built",
    "ddp": "DDPStrategy in processes of their own",
    "ddp_find_unused_parameters_false": "the same, said at length",
    "ddp_find_unused_parameters_true": "the same, as stage=ppo needs it",
}
"""Strategies by name. Those that spawn or fork leave what the module has found in processes that end: not here."""

OPTIONS = {
    "find_unused_parameters": "looks for weights without a gradient, which PPO's two losses leave",
    "broadcast_buffers": "buffers come from averaged numbers, the same everywhere",
    "gradient_as_bucket_view": "where gradients lie in memory",
    "bucket_cap_mb": "how many gradients are sent at once",
    "process_group_backend": "how they are sent",
    "timeout": "how long processes wait for each other",
}
"""Arguments of DDPStrategy that change no result. Hooks that compress gradients, and averaging periods, do."""


def check_strategy(strategy: Any) -> None:
    """Refuses what was never compared with one process.

    Args:
        strategy: ``trainer.strategy``, a name or the config of an object.

    Raises:
        UserError: another strategy, or another option of DDP.
    """
    if not isinstance(strategy, Mapping):
        if strategy not in NAMES:
            raise _refusal(str(strategy))
        return
    if strategy.get("_target_") not in DDP:
        raise _refusal(str(strategy.get("_target_")))
    for option in strategy:
        if option != "_target_" and option not in OPTIONS:
            raise UserError(
                f"trainer.strategy.{option}: nobody has compared its result with that of one process; leave it out "
                f"(DDP's options here are {', '.join(OPTIONS)})"
            )


def _refusal(name: str) -> UserError:
    return UserError(
        f"trainer.strategy={name}: nobody has compared its result with that of one process; take trainer=ddp for "
        f"several processes (or one of {', '.join(NAMES)})"
    )
