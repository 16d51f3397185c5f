"""Settings of a PPO run that fit no single class, refused before the first iteration: the run could only be wasted."""

from __future__ import annotations

import math

from csrlhf.certify.bounds import clopper_pearson_upper, least_count
from csrlhf.constraints.base import Constraints
from csrlhf.errors import UserError


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
        constraints: of the run; statistics that are no rate have no such floor.
        confidence: of the one-sided bound at one evaluation.
        num_prompts: validation prompts per evaluation.
    """
    for name, constraint in constraints.by_name.items():
        threshold = float(constraint.threshold)  # type: ignore[arg-type]  # a number, not a buffer
        best = clopper_pearson_upper(0, num_prompts, confidence)
        if not constraint.is_rate or best <= threshold:
            continue
        needed = least_count(threshold, confidence)
        more = f"ppo.num_validation={needed:.0f} or more, " if math.isfinite(needed) else ""
        raise UserError(
            f"constraints.{name}.threshold={threshold:g} is out of reach: even without a violation {num_prompts} "
            f"validation prompts bound the rate by {best:.3f}; set {more}a larger threshold, or a smaller "
            "ppo.selection.confidence"
        )
