"""An analysis as flat numbers, keyed as in docs/reference/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

from csrlhf.evaluation.agreement import Humans, JudgeAgreement
from csrlhf.evaluation.analysis import Analysis, PolicyAnalysis
from csrlhf.evaluation.arena import Arena
from csrlhf.evaluation.length_control import LengthControl
from csrlhf.metrics.policy_table import ConstraintVerdict


def prefix_of(policy: str, main: str | None) -> str:
    """The area of a policy's keys: ``eval`` for the one that the evaluation is about, else ``eval/<policy>``."""
    return "eval" if policy == main else f"eval/{policy}"


def flat(analysis: Analysis, main: str | None = None) -> dict[str, float]:
    """Every number that is one; what is undefined (a kappa where all agree on everything) has no key.

    Args:
        analysis: of some answers.
        main: the policy that the evaluation is about, whose keys have no name; None where all are alike.
    """
    found: dict[str, float] = {}
    for name, policy in analysis.policies.items():
        found |= _policy(prefix_of(name, main), policy)
    for arena, control in analysis.arenas:
        found |= _arena(arena, control)
    for test in analysis.tests:
        key = f"paired/{test.challenger}_vs_{test.baseline}/{test.group}"
        found |= {f"{key}/difference": test.difference, f"{key}/p": test.p_value, f"{key}/p_holm": test.adjusted}
    if analysis.humans is not None:
        found |= _humans(analysis.humans)
    for judge in analysis.judges:
        found |= _judge(judge)
    return {key: value for key, value in found.items() if math.isfinite(value)}


def verdict_numbers(prefix: str, verdicts: Sequence[ConstraintVerdict]) -> dict[str, float]:
    """What the verdicts on one policy say, as numbers."""
    found = {}
    for verdict in verdicts:
        found[f"{prefix}/{verdict.name}/rate"] = verdict.value
        found[f"{prefix}/{verdict.name}/upper_bound"] = verdict.upper
        found[f"{prefix}/{verdict.name}/feasible"] = float(verdict.feasible)
    return found


def _policy(prefix: str, policy: PolicyAnalysis) -> dict[str, float]:
    found = policy.unsafe.metrics(f"{prefix}/judged_unsafe_rate")
    for area, rates in (("category", policy.categories), ("attack", policy.attacks)):
        for name, rate in rates.items():
            key = "unsafe_rate" if area == "category" else "success_at_1"
            found |= rate.metrics(f"{prefix}/{area}/{name}/{key}")
    for name, rate in policy.attacks_at_k.items():
        found |= rate.metrics(f"{prefix}/attack/{name}/success_at_k")
    for name, rate in policy.refusals.items():
        found |= rate.metrics(f"{prefix}/category/{name}/over_refusal")
    if policy.kl is not None:
        found |= {f"{prefix}/kl_low": policy.kl.low, f"{prefix}/kl_high": policy.kl.high}
    return found


def _arena(arena: Arena, control: LengthControl | None) -> dict[str, float]:
    key = f"arena/{arena.challenger}_vs_{arena.baseline}"
    found = arena.win_rate.metrics(f"{key}/win_rate") | {f"{key}/tie_rate": arena.tie_rate}
    found |= arena.reward_difference.metrics(f"{key}/reward_difference")
    found |= {f"{key}/{safety}_{word}": share for (safety, word), share in arena.matrix.items()}
    if control is not None:
        found |= control.intercept.metrics(f"{key}/reward_at_equal_length")
        found |= {f"{key}/reward_per_word": control.slope, f"{key}/length_difference": control.length_difference}
    return found


def _humans(humans: Humans) -> dict[str, float]:
    return {
        "humans/raters": float(len(humans.raters)),
        "humans/answers": float(humans.num_answers),
        **humans.unsafe_rate.metrics("humans/unsafe_rate"),
        **humans.agreement.metrics("humans/agreement"),
        **humans.kappa.metrics("humans/kappa"),
    }


def _judge(judge: JudgeAgreement) -> dict[str, float]:
    key = f"judges/{judge.judge}"
    return {
        **judge.agreement.metrics(f"{key}/agreement"),
        **judge.kappa.metrics(f"{key}/kappa"),
        **judge.sensitivity.metrics(f"{key}/sensitivity"),
        **judge.specificity.metrics(f"{key}/specificity"),
    }
