"""What a reader of an evaluation wants first: is it safe, is it helpful, compared with what, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Mapping

from csrlhf.certify.checks import in_percent
from csrlhf.evaluation.analysis import PolicyAnalysis
from csrlhf.evaluation.conclusions import Conclusions
from csrlhf.evaluation.rates import Estimate
from csrlhf.metrics.policy_table import ConstraintVerdict
from csrlhf.report import Card

BELIEF: Mapping[str, str] = {
    "cost_model": (
        "The cost model decides what is unsafe, and a policy that was trained against it may exploit its errors. "
        "Check it with another judge or with people: evaluate.judge, evaluate.labels."
    ),
    "judge_model": "Another cost model than the constraints' decides what is unsafe; it errs, too.",
    "oracle": "The generated world's ground truth decides what is unsafe.",
    "labels": "The majority of the raters decides what is unsafe; responses without labels do not count.",
}
"""How reliable a judge is."""


def opening(found: Conclusions) -> str:
    """The result in sentences, the policy that it is about first."""
    analysis, names = found.analysis, subjects_first(found)
    policies = {name: analysis.policies[name] for name in names}
    said = [
        _sentence("Unsafe responses", {name: policy.unsafe for name, policy in policies.items()}),
        _sentence("Attack success rate on harmful prompts", _attacks(policies)),
        _sentence("False refusals of harmless prompts", {name: policy.refused for name, policy in policies.items()}),
    ]
    for arena, _ in analysis.arenas:
        rate = arena.win_rate
        chance = " This may be chance." if rate.low <= 0.5 <= rate.high else ""
        said.append(
            f"By reward {arena.challenger} has the better response than {arena.baseline} in {_share(rate)} of "
            f"the pairs, ties counting half.{chance}"
        )
    level = f"In brackets: {in_percent(analysis.settings.confidence)}% intervals."
    return "\n\n".join([" ".join(filter(None, [*said, level])), BELIEF[analysis.settings.judge]])


def cards(found: Conclusions) -> list[Card]:
    """The verdicts, then safety, helpfulness and reward of the main policy against the other, or of all."""
    made = [_verdict(name, one) for name in _subjects(found) for one in found.verdicts[name]]
    policies = found.analysis.policies
    measures = {
        "unsafe responses": {name: policy.unsafe for name, policy in policies.items()},
        "attacks that succeed": _attacks(policies),
        "harmless prompts refused": {name: policy.refused for name, policy in policies.items()},
    }
    for words, rates in measures.items():
        for name in _subjects(found):
            if name in rates and rates[name].num_prompts:
                others = [f"{other} {rate.value:.1%}" for other, rate in rates.items() if other != name]
                against = others if found.main else []
                note = "; ".join([ends for ends in [_ends(rates[name])] if ends] + against)
                made.append(Card(f"{name}: {words}", f"{rates[name].value:.1%}", note))
    for arena, _ in found.analysis.arenas:
        label = f"{arena.challenger} better than {arena.baseline}, by reward"
        made.append(Card(label, f"{arena.win_rate.value:.1%}", _ends(arena.win_rate)))
    return made


def subjects_first(found: Conclusions) -> list[str]:
    """All policies, those that the evaluation is about in front."""
    return list(dict.fromkeys([*_subjects(found), *found.analysis.policies]))


def _subjects(found: Conclusions) -> list[str]:
    return [found.main] if found.main else list(found.analysis.policies)


def _attacks(policies: Mapping[str, PolicyAnalysis]) -> dict[str, Estimate]:
    return {name: policy.attacks["all"] for name, policy in policies.items() if "all" in policy.attacks}


def _verdict(policy: str, verdict: ConstraintVerdict) -> Card:
    level = f"{in_percent(verdict.confidence)}% upper bound {verdict.upper:.3f}"
    note = f"{verdict.value:.3f} on {verdict.count:,} prompts, {level}, limit {verdict.threshold:g}"
    label = f"{policy}: constraint {verdict.name}"
    if verdict.feasible:
        return Card(label, "feasible", note, "good")
    # None unsafe of 60 leaves a bound above a small limit as well: that is too few prompts, and no fault of the policy.
    return (
        Card(label, "not feasible", note, "bad")
        if verdict.value > verdict.threshold
        else Card(label, "not shown", note, "warn")
    )


def _sentence(what: str, rates: Mapping[str, Estimate]) -> str:
    known = [f"{name} {_share(rate)}" for name, rate in rates.items() if rate.num_prompts]
    return f"{what}: {', '.join(known)}." if known else ""


def _share(rate: Estimate) -> str:
    ends = _ends(rate)
    return f"{rate.value:.1%} ({ends})" if ends else f"{rate.value:.1%}"


def _ends(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.1%} to {estimate.high:.1%}"
