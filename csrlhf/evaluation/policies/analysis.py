"""From answers to rates, arenas, tests and agreement, and to flat numbers: pure functions, no models, no tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from csrlhf.data.harmless import BENIGN, HARMFUL
from csrlhf.evaluation.answers.labels import Labels, verdicts
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.agreement import Humans, JudgeAgreement, humans, judge_agreement
from csrlhf.evaluation.policies.comparison import (
    Arena,
    LengthControl,
    PairedTest,
    arena,
    corrected,
    length_control,
    paired_test,
)
from csrlhf.evaluation.policies.rates import (
    attack_success,
    by_prompt,
    check_categories,
    check_stated,
    groups_of,
    is_benign,
    over_refusal,
    rate_of,
    refusal_rate,
    refused_by,
    unsafe_by_category,
)
from csrlhf.evaluation.policies.table import ConstraintVerdict
from csrlhf.refusals.build import WORDS
from csrlhf.refusals.words import WordJudge
from csrlhf.stats.intervals import Interval, mean_interval


@dataclass(frozen=True)
class Settings:
    """How answers are analysed.

    Attributes:
        judge: who says what is unsafe: a key of ``labels.AUTOMATIC``, or ``labels``.
        confidence: of every two-sided interval.
        attempts: k of the attack success rate at k; None for as many as there are answers to every prompt.
        benign: categories whose prompts are harmless.
        tie: rewards that differ by at most this much are equal.
        harmful: categories whose prompts are harmful.
        refusals: who finds refusals where no oracle knows them: ``words``, or a judge's folder.
    """

    judge: str = "cost_model"
    confidence: float = 0.95
    attempts: int | None = None
    benign: tuple[str, ...] = BENIGN
    tie: float = 0.0
    harmful: tuple[str, ...] = HARMFUL
    refusals: str = WORDS


@dataclass(frozen=True)
class PolicyAnalysis:
    """What answers say of one policy.

    Attributes:
        unsafe: the unsafe rate over all judged answers.
        categories: the same by category.
        attacks: attack success rate at one attempt by jailbreak category, and ``all``.
        attacks_at_k: at ``attempts`` attempts; empty where that is 1.
        refusals: share of refusals by harmless category.
        refused: the same over all harmless prompts.
        kl: to the reference, per answer; None where no answer has it.
    """

    unsafe: Interval
    categories: Mapping[str, Interval]
    attacks: Mapping[str, Interval]
    attacks_at_k: Mapping[str, Interval]
    refusals: Mapping[str, Interval]
    refused: Interval
    kl: Interval | None


@dataclass(frozen=True)
class Analysis:
    """Everything that is said of a file of answers.

    Attributes:
        settings: how it was made.
        attempts: k of the attack success rate at k.
        policies: by name, in the order of the evaluation.
        arenas: each later policy against each earlier one, with the reward at equal length.
        tests: paired tests of the same pairs, by group of prompts.
        humans: agreement among raters; None without labels.
        judges: automatic judges against the raters.
        refused: which answers refuse, by id.
    """

    settings: Settings
    attempts: int
    policies: Mapping[str, PolicyAnalysis]
    arenas: Sequence[tuple[Arena, LengthControl | None]]
    tests: Sequence[PairedTest]
    humans: Humans | None
    judges: Sequence[JudgeAgreement]
    refused: Mapping[str, bool]


def analyse(
    answers: Mapping[str, Sequence[Answer]],
    settings: Settings,
    labels: Labels | None = None,
    labels_file: str = "labels",
    refused: Mapping[str, bool] | None = None,
) -> Analysis:
    """Analyses the answers of one or several policies.

    Args:
        answers: by policy, in the order in which policies are shown and compared; the order of answers does not matter.
        settings: how.
        labels: judgements by people.
        labels_file: where they come from, for messages.
        refused: which answers refuse, by id; None: by the oracle, or their words.

    Raises:
        UserError: labels are of other answers, a judge has not judged, no prompt is of a category that is said to be
            harmless, nobody says whether prompts are, or there are fewer answers than attempts.
    """
    every = [answer for given in answers.values() for answer in given]
    if labels is not None:
        labels.check_ids({answer.id for answer in every}, "the responses")
    check_categories(settings.benign, settings.harmful, (answer.category for answer in every))
    stated = ((answer.meta, answer.category, answer.attack) for answer in every)
    check_stated(settings.benign, settings.harmful, stated)
    unsafe = verdicts(every, settings.judge, labels)
    refused = refused_by(WordJudge(), every) if refused is None else refused
    attempts = _attempts(answers, settings, unsafe)
    pairs = [(answers[later], answers[earlier]) for earlier, later in combinations(answers, 2)]
    return Analysis(
        settings=settings,
        attempts=attempts,
        policies={name: _policy(given, unsafe, refused, settings, attempts) for name, given in answers.items()},
        arenas=[_arena(first, second, unsafe, settings) for first, second in pairs if _have_rewards(first, second)],
        tests=corrected([test for first, second in pairs for test in _tests(first, second, unsafe, settings)]),
        humans=None if labels is None else humans(every, labels, settings.confidence, labels_file),
        judges=[] if labels is None else judge_agreement(every, labels.majority(), settings.confidence),
        refused=refused,
    )


def _policy(
    answers: Sequence[Answer],
    unsafe: Mapping[str, bool],
    refused: Mapping[str, bool],
    settings: Settings,
    attempts: int,
) -> PolicyAnalysis:
    benign, confidence = settings.benign, settings.confidence
    divergences = [[answer.kl for answer in group if answer.kl is not None] for group in by_prompt(answers).values()]
    return PolicyAnalysis(
        unsafe=rate_of(answers, unsafe, confidence),
        categories=unsafe_by_category(answers, unsafe, confidence),
        attacks=attack_success(answers, unsafe, 1, benign, confidence),
        attacks_at_k=attack_success(answers, unsafe, attempts, benign, confidence) if attempts > 1 else {},
        refusals=over_refusal(answers, refused, benign, confidence),
        refused=refusal_rate(answers, refused, benign, confidence),
        kl=mean_interval(divergences, confidence) if any(divergences) else None,
    )


def _attempts(answers: Mapping[str, Sequence[Answer]], settings: Settings, unsafe: Mapping[str, bool]) -> int:
    """k: what is asked for, else the judged answers that every prompt has."""
    if settings.attempts is not None:
        return settings.attempts
    judged = ([answer for answer in given if answer.id in unsafe] for given in answers.values())
    return min((len(group) for given in judged for group in by_prompt(given).values()), default=1)


def _have_rewards(*policies: Sequence[Answer]) -> bool:
    return all(answer.reward is not None for answers in policies for answer in answers)


def _arena(
    challenger: Sequence[Answer], baseline: Sequence[Answer], unsafe: Mapping[str, bool], settings: Settings
) -> tuple[Arena, LengthControl | None]:
    return (
        arena(challenger, baseline, unsafe, settings.confidence, settings.tie),
        length_control(challenger, baseline, settings.confidence),
    )


def _tests(
    challenger: Sequence[Answer], baseline: Sequence[Answer], unsafe: Mapping[str, bool], settings: Settings
) -> list[PairedTest]:
    """One test per category, and one per jailbreak category of harmful prompts."""
    found = []
    for area, key in (("category", _category), ("attack", lambda answer: _attack(answer, settings.benign))):
        first, second = groups_of(challenger, key), groups_of(baseline, key)
        found += [paired_test(first[name], second[name], unsafe, f"{area}/{name}") for name in first if name in second]
    return [test for test in found if test is not None]


def _category(answer: Answer) -> str | None:
    return answer.category


def _attack(answer: Answer, benign: Sequence[str]) -> str | None:
    return None if is_benign(answer, benign) else answer.attack


# An analysis as flat numbers, keyed as in docs/reference/metrics.md.


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
        found |= _policy_numbers(prefix_of(name, main), policy)
    for comparison, control in analysis.arenas:
        found |= _arena_numbers(comparison, control)
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


def _policy_numbers(prefix: str, policy: PolicyAnalysis) -> dict[str, float]:
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


def _arena_numbers(arena: Arena, control: LengthControl | None) -> dict[str, float]:
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
