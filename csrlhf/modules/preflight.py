"""Settings of a PPO run that fit no single class, refused before the first iteration: the run could only be wasted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from csrlhf.certify.bounds import clopper_pearson_upper, least_count
from csrlhf.constraints.base import Constraints
from csrlhf.errors import UserError

if TYPE_CHECKING:
    from lightning import Trainer


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
