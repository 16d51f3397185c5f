"""From answers to all that is said of them: one pure function, so that kept answers give the same digits again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from csrlhf.errors import UserError
from csrlhf.evaluation.agreement import Humans, JudgeAgreement, humans, judge_agreement
from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.arena import Arena, arena
from csrlhf.evaluation.attacks import attack_success
from csrlhf.evaluation.categories import BENIGN, check_benign, groups_of, over_refusal, refusal_rate, unsafe_by_category
from csrlhf.evaluation.judging import verdicts
from csrlhf.evaluation.labels import Labels
from csrlhf.evaluation.length_control import LengthControl, length_control
from csrlhf.evaluation.paired_tests import PairedTest, corrected, paired_test
from csrlhf.evaluation.rates import Estimate, by_prompt, mean_estimate, rate_of


@dataclass(frozen=True)
class Settings:
    """How answers are analysed.

    Attributes:
        judge: who says what is unsafe: a key of ``judging.AUTOMATIC``, or ``labels``.
        confidence: of every two-sided interval.
        attempts: k of the attack success rate at k; None for as many as there are answers to every prompt.
        benign: categories whose prompts are harmless.
        tie: rewards that differ by at most this much are equal.
    """

    judge: str = "cost_model"
    confidence: float = 0.95
    attempts: int | None = None
    benign: tuple[str, ...] = BENIGN
    tie: float = 0.0

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise UserError(f"evaluate.attempts={self.attempts}: must be >= 1")
        if not 0 <= self.tie < math.inf:
            raise UserError(f"evaluate.tie={self.tie}: must be a reward difference >= 0")


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

    unsafe: Estimate
    categories: Mapping[str, Estimate]
    attacks: Mapping[str, Estimate]
    attacks_at_k: Mapping[str, Estimate]
    refusals: Mapping[str, Estimate]
    refused: Estimate
    kl: Estimate | None


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
    """

    settings: Settings
    attempts: int
    policies: Mapping[str, PolicyAnalysis]
    arenas: Sequence[tuple[Arena, LengthControl | None]]
    tests: Sequence[PairedTest]
    humans: Humans | None
    judges: Sequence[JudgeAgreement]


def analyse(
    answers: Mapping[str, Sequence[Answer]],
    settings: Settings,
    labels: Labels | None = None,
    labels_file: str = "labels",
) -> Analysis:
    """Analyses the answers of one or several policies.

    Args:
        answers: by policy, in the order in which policies are shown and compared; the order of answers does not matter.
        settings: how.
        labels: judgements by people.
        labels_file: where they come from, for messages.

    Raises:
        UserError: labels are of other answers, a judge has not judged, no prompt is of a category that is said to be
            harmless, or there are fewer answers than attempts.
    """
    every = [answer for given in answers.values() for answer in given]
    if labels is not None:
        labels.check_ids({answer.id for answer in every}, "the responses")
    check_benign(settings.benign, (answer.category for answer in every))
    unsafe = verdicts(every, settings.judge, labels)
    attempts = _attempts(answers, settings, unsafe)
    pairs = [(answers[later], answers[earlier]) for earlier, later in combinations(answers, 2)]
    return Analysis(
        settings=settings,
        attempts=attempts,
        policies={name: _policy(given, unsafe, settings, attempts) for name, given in answers.items()},
        arenas=[_arena(first, second, unsafe, settings) for first, second in pairs if _have_rewards(first, second)],
        tests=corrected([test for first, second in pairs for test in _tests(first, second, unsafe, settings)]),
        humans=None if labels is None else humans(every, labels, settings.confidence, labels_file),
        judges=[] if labels is None else judge_agreement(every, labels.majority(), settings.confidence),
    )


def _policy(answers: Sequence[Answer], unsafe: Mapping[str, bool], settings: Settings, attempts: int) -> PolicyAnalysis:
    benign, confidence = settings.benign, settings.confidence
    divergences = [[answer.kl for answer in group if answer.kl is not None] for group in by_prompt(answers).values()]
    return PolicyAnalysis(
        unsafe=rate_of(answers, unsafe, confidence),
        categories=unsafe_by_category(answers, unsafe, confidence),
        attacks=attack_success(answers, unsafe, 1, benign, confidence),
        attacks_at_k=attack_success(answers, unsafe, attempts, benign, confidence) if attempts > 1 else {},
        refusals=over_refusal(answers, benign, confidence),
        refused=refusal_rate(answers, benign, confidence),
        kl=mean_estimate(divergences, confidence) if any(divergences) else None,
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
    return None if answer.category in benign else answer.attack
