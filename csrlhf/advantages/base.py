"""The contract of an advantage estimator: from token rewards per channel to one mixed advantage per token.

Channels are mixed before anything is normalised: whitening each alone would rescale λ by σ_r / σ_c.

Legend: B sequences, T response tokens, K constraints, C = 1 + K channels (reward first).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.ops.advantages import mix
from csrlhf.penalties.base import Weights
from csrlhf.types import Advantages

# What an estimator returned, checked before the update uses it: its kind and its shapes.
#
# Whether its numbers are finite shows in the step's gradient norm, on all processes at once (``ppo_step``).


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


class Estimator(ABC):
    """Base class of all estimators. A plug-in need not inherit: a callable with :attr:`needs_critic` will do."""

    needs_critic: bool = True
    """False: no critic is loaded, trained or checkpointed, and ``values_BTC`` is None."""

    min_samples: int = 1
    """Fewest responses per prompt (``ppo.samples_per_prompt``) that the estimator can compare."""

    mixes_linearly: bool = True
    """False: the mixed advantage is more than a weighted sum of the channels' own. A penalty that weighs these anew in
    each minibatch (``Penalty.recheck``) cannot have it."""

    @abstractmethod
    def __call__(
        self, rewards_BTC: Tensor, values_BTC: Tensor | None, mask_BT: Tensor, weights: Weights, **optional: Any
    ) -> Advantages:
        """Advantages of a rollout.

        Args:
            rewards_BTC: shaped token rewards, reward channel first, then costs (to be lowered).
            values_BTC: the critic's values; None without a critic.
            mask_BT: True on response tokens.
            weights: of the mix.
            **optional: those of these that the estimator declares by name: ``total``
                (:data:`csrlhf.ops.masking.Total`, adds up a tensor over all processes), ``groups``
                (:class:`csrlhf.ops.advantages.Groups`, which responses share a prompt) and ``scale``
                (:class:`csrlhf.advantages.scale.RewardScale`, the run's, which the module checkpoints).

        Returns:
            The mixed advantage, both channels' advantages before any normalisation (in the units of the token
            rewards), and, with a critic, its targets. All are 0 where the mask is False.
        """


def ask_estimator(
    estimator: Any, rewards_BTC: Tensor, values_BTC: Tensor | None, mask_BT: Tensor, weights: Weights, **optional: Any
) -> Advantages:
    """Call an estimator with the optional arguments that it declares (plug-ins may leave some out); check it."""
    parameters = inspect.signature(estimator).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    declared = {name: value for name, value in optional.items() if takes_all or name in parameters}
    advantages = estimator(rewards_BTC, values_BTC, mask_BT, weights, **declared)
    check_advantages(estimator, advantages, rewards_BTC)
    return advantages


def check_samples(estimator: Any, samples_per_prompt: int) -> None:
    """Raise a UserError where an estimator is given fewer responses than it compares, or says nothing of a critic."""
    if not isinstance(getattr(estimator, "needs_critic", None), bool):
        raise UserError(
            f"advantage: {type(estimator).__name__} has no attribute needs_critic; set it to True (it gets the "
            "critic's values) or False (docs/how-to/extend.md)"
        )
    needed = getattr(estimator, "min_samples", 1)
    if samples_per_prompt < needed:
        raise UserError(
            f"ppo.samples_per_prompt={samples_per_prompt}: {type(estimator).__name__} compares the responses to one "
            f"prompt and needs {needed} or more of them; set ppo.samples_per_prompt=4 (a divisor of ppo.batch_size), "
            "or advantage=gae"
        )


def mix_channels(channels_BTC: Tensor, weights: Weights) -> Tensor:
    """The mixed advantage [B, T] of all channels' advantages."""
    return mix(channels_BTC[..., 0], channels_BTC[..., 1:], weights.reward, weights.cost_K, weights.total)
