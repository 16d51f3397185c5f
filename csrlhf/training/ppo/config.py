"""Settings of a PPO run that fit no single class, refused before the first iteration: the run could only be wasted."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from csrlhf.constraints.base import Constraints
from csrlhf.errors import UserError
from csrlhf.ops.losses import AGGREGATIONS
from csrlhf.ops.shaping import KL_CHANNELS
from csrlhf.stats.bounds import clopper_pearson_upper, least_count
from csrlhf.training.ppo.rewards import KL_CONTROLS, SCORE_NORMALISE

if TYPE_CHECKING:
    from lightning import Trainer


# The numbers of the PPO update, checked where they enter.


@dataclass(frozen=True)
class PPOConfig:
    """Numbers of one iteration's update.

    Attributes:
        epochs: passes over a rollout.
        minibatch_size: sequences per optimiser step, over all processes.
        accumulate: micro-batches in which each process takes its share of a minibatch.
        samples_per_prompt: responses to each prompt, which follow each other in the batch.
        kl_coef: β of the KL to the reference, in the token rewards; where it starts if it is adaptive.
        kl_channels: ``reward``, or ``both`` (costs pay it too, Safe-RLHF's choice).
        kl_control: ``fixed``, or ``adaptive``: β follows the KL to its target.
        kl_target: of an adaptive β, in nats per response.
        kl_horizon: of an adaptive β, in responses: the larger, the slower.
        reward_normalise: of rewards by their running statistics: ``none``, ``scale`` or ``whiten``.
        cost_normalise: of sample costs, likewise; λ then is a price in other units, see ``score_scale``.
        clip: ε of the clipped surrogate.
        value_clip: range of the clipped value loss; None leaves the plain square.
        reward_clamp: bound on shaped token rewards; None for none.
        entropy_coef: weight of the entropy bonus.
        aggregation: of token losses, ``sequence`` or ``token``.
        policy_grad_clip: bound on the policy's gradient norm.
        critic_grad_clip: bound on the critic's.
        critic_warmup: first iterations in which the critic alone is trained.
        target_kl: the policy's steps of an iteration end where their KL (nats per token) is past it; None: never.
        ptx_coef: weight of the SFT loss on demonstrations, in the policy's steps.
        ptx_batch_size: demonstrations per step, over all processes.

    Example:
        ``PPOConfig(epochs=2, minibatch_size=64)``.
    """

    epochs: int = 2
    minibatch_size: int = 64
    accumulate: int = 1
    samples_per_prompt: int = 1
    kl_coef: float = 0.1
    kl_channels: str = "reward"
    kl_control: str = "fixed"
    kl_target: float = 6.0
    kl_horizon: float = 10000
    reward_normalise: str = "none"
    cost_normalise: str = "none"
    clip: float = 0.2
    value_clip: float | None = None
    reward_clamp: float | None = None
    entropy_coef: float = 0.0
    aggregation: str = "token"
    policy_grad_clip: float = 1.0
    critic_grad_clip: float = 1.0
    critic_warmup: int = 0
    target_kl: float | None = None
    ptx_coef: float = 0.0
    ptx_batch_size: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            no_number = isinstance(value, bool) or not isinstance(value, int | float)
            if not isinstance(field.default, str) and no_number and not (value is None and field.default is None):
                optional = ", or null" if field.default is None else ""
                raise UserError(f"ppo.{field.name}={value!r}: must be a number{optional}")
        checks = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "minibatch_size": (self.minibatch_size >= 1, "1 or more"),
            "accumulate": (self.accumulate >= 1, "1 or more"),
            "samples_per_prompt": (self.samples_per_prompt >= 1, "1 or more"),
            "kl_coef": (self.kl_coef >= 0, "0 or above"),
            "kl_channels": (self.kl_channels in KL_CHANNELS, f"one of {', '.join(KL_CHANNELS)}"),
            "kl_control": (self.kl_control in KL_CONTROLS, f"one of {', '.join(KL_CONTROLS)}"),
            "kl_target": (0 < self.kl_target < math.inf, "a positive number of nats"),
            "kl_horizon": (0 < self.kl_horizon < math.inf, "a positive number of responses"),
            "reward_normalise": (self.reward_normalise in SCORE_NORMALISE, f"one of {', '.join(SCORE_NORMALISE)}"),
            "cost_normalise": (self.cost_normalise in SCORE_NORMALISE, f"one of {', '.join(SCORE_NORMALISE)}"),
            "clip": (0 < self.clip < 1, "in (0, 1)"),
            "value_clip": (self.value_clip is None or self.value_clip > 0, "above 0, or null"),
            "reward_clamp": (self.reward_clamp is None or self.reward_clamp > 0, "above 0, or null"),
            "entropy_coef": (self.entropy_coef >= 0, "0 or above"),
            "aggregation": (self.aggregation in AGGREGATIONS, f"one of {', '.join(AGGREGATIONS)}"),
            "policy_grad_clip": (self.policy_grad_clip > 0, "above 0"),
            "critic_grad_clip": (self.critic_grad_clip > 0, "above 0"),
            "critic_warmup": (self.critic_warmup >= 0, "0 or more iterations"),
            "target_kl": (self.target_kl is None or self.target_kl > 0, "above 0, or null"),
            "ptx_coef": (0 <= self.ptx_coef < float("inf"), "0 or above, and finite"),
            "ptx_batch_size": (self.ptx_batch_size >= 1, "1 or more"),
        }
        for key, (good, allowed) in checks.items():
            if not good:
                raise UserError(f"ppo.{key}={getattr(self, key)!r}: must be {allowed}")
        if self.kl_control == "adaptive" and self.kl_coef == 0:
            raise UserError("ppo.kl_coef=0: with ppo.kl_control=adaptive it must be above 0, which it can never leave")


def check_trainer(trainer: Trainer, data: Any, samples_per_prompt: int) -> None:
    """End the run where its data end, and raise a UserError where a Trainer built by hand would go wrong unnoticed.

    Args:
        trainer: its ``max_epochs`` becomes the number of epochs that hold ``data.iterations``, where that is less.
        data: the trainer's DataModule (``PromptDataModule``).
        samples_per_prompt: of the module.
    """
    if data is None:
        raise UserError("PPO has no DataModule; write trainer.fit(module, PromptDataModule(...))")
    if data.samples_per_prompt != samples_per_prompt:
        raise UserError(
            f"ppo.samples_per_prompt={samples_per_prompt}: must be the DataModule's, which is {data.samples_per_prompt}"
        )
    every: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]  # set in a connector
    if every != 1:
        raise UserError(
            f"trainer.reload_dataloaders_every_n_epochs={every}: must be 1, else epochs repeat the first one's prompts"
        )
    if data.iterations is not None:
        epochs = math.ceil(data.iterations / data.iterations_per_epoch)
        if trainer.max_epochs is None or not 0 <= trainer.max_epochs <= epochs:
            trainer.fit_loop.max_epochs = epochs
    elif trainer.max_epochs == -1:
        raise UserError(
            "trainer.max_epochs=-1: a run without an end has no number of evaluations to share the confidence among; "
            "set PromptDataModule(iterations=...), or max_epochs"
        )


def check_warmup(critic_warmup: int, iterations: int | None) -> None:
    """Raise a UserError where every iteration would train the critic alone, and the SFT policy come out as trained."""
    if iterations is not None and critic_warmup >= iterations:
        raise UserError(
            f"ppo.critic_warmup={critic_warmup}: must be below ppo.iterations={iterations}, "
            "else no iteration trains the policy"
        )


def check_reachable(constraints: Constraints, confidence: float, num_prompts: int) -> None:
    """Raise a UserError where even a policy without a violation could not be shown to stay under a threshold.

    Args:
        constraints: of the run. A rate has a bound above 0 even without a violation; other statistics only need
            enough answers to be defined, and two for a spread.
        confidence: of the one-sided bound at one evaluation.
        num_prompts: validation prompts per evaluation.
    """
    for name, constraint in zip(constraints.names, constraints, strict=True):
        least = max(constraint.least_count, 1 if constraint.is_rate else 2)
        if num_prompts < least:
            raise UserError(
                f"ppo.num_validation={num_prompts}: {num_prompts} validation prompts bound no statistic of "
                f"constraints.{name}, which needs {least} or more"
            )
        best = clopper_pearson_upper(0, num_prompts, confidence)
        if not constraint.is_rate or best <= constraint.threshold:
            continue
        needed = least_count(constraint.threshold, confidence)
        more = f"ppo.num_validation={needed:.0f} or more, " if math.isfinite(needed) else ""
        raise UserError(
            f"constraints.{name}.threshold={constraint.threshold:g} is out of reach: even without a violation "
            f"{num_prompts} validation prompts bound the rate by {best:.3f}; set {more}a larger threshold, or a "
            "smaller ppo.selection.confidence"
        )
