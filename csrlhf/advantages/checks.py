"""What an estimator returned, checked before the update uses it: its kind and its shapes.

Whether its numbers are finite shows in the step's gradient norm, on all processes at once (``ppo_step``).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from csrlhf.errors import UserError


def check_advantages(estimator: Any, advantages: Any, rewards_BTC: Tensor) -> None:
    """Refuses advantages that the update cannot use.

    Args:
        estimator: whose they are, for the message; with ``needs_critic`` the critic's targets have to be there.
        advantages: what it returned; an ``Advantages``.
        rewards_BTC: what it was asked with.

    Raises:
        UserError: names the estimator, and what is wrong with its answer.
    """
    name = f"advantage: {type(estimator).__name__} returned"
    tokens, channels = list(rewards_BTC.shape[:2]), rewards_BTC.shape[2]
    shapes = {"advantage_BT": tokens, "returns_BTC": [*tokens, channels], "values_BTC": [*tokens, channels],
              "reward_advantage_BT": tokens, "cost_advantage_BTK": [*tokens, channels - 1]}  # fmt: skip
    needed = {"advantage_BT"} | ({"returns_BTC", "values_BTC"} if estimator.needs_critic else set())
    for field, shape in shapes.items():
        value = getattr(advantages, field, None)
        if value is None and field not in needed and hasattr(advantages, field):
            continue
        if not isinstance(value, Tensor):
            critic = ", which the critic learns from (needs_critic)" if field in ("returns_BTC", "values_BTC") else ""
            raise UserError(
                f"{name} a {type(advantages).__name__} without the tensor {field}{critic}; it has to return "
                "csrlhf.types.Advantages (docs/how-to/extend.md)"
            )
        if list(value.shape) != shape:
            raise UserError(f"{name} {field} of shape {list(value.shape)}; it must be {shape} (docs/how-to/extend.md)")
