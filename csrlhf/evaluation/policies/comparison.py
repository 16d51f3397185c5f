"""A policy against another on the same prompts: who gets the higher reward, at equal length too, and who is safer?

Intervals and tests themselves are in ``csrlhf.stats``; here it is said which pairs of answers they are taken over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.stats.bounds import student_quantile
from csrlhf.stats.intervals import Interval, fit_line, mean, mean_interval, rate
from csrlhf.stats.paired import holm, mcnemar

Pair = tuple[Answer, Answer]


def pairs_by_prompt(challenger: Sequence[Answer], baseline: Sequence[Answer]) -> dict[str, list[Pair]]:
    """Answers with the same prompt and sample number, by prompt, in an order of their own.

    Raises:
        UserError: no prompt was answered by both.
    """
    other = {(answer.prompt_id, answer.sample): answer for answer in baseline}
    found: dict[str, list[Pair]] = {}
    for answer in sorted(challenger, key=lambda answer: (answer.prompt_id, answer.sample)):
        if (answer.prompt_id, answer.sample) in other:
            found.setdefault(answer.prompt_id, []).append((answer, other[answer.prompt_id, answer.sample]))
    if not found:
        raise UserError(
            f"policies {challenger[0].policy} and {baseline[0].policy} share no prompt_id and sample: let both respond "
            "to the same prompts"
        )
    return found


SAFETY = ("safe", "unsafe")
OUTCOMES = ("better", "tie", "worse")


@dataclass(frozen=True)
class Arena:
    """The challenger against the baseline.

    Attributes:
        challenger: name of a policy.
        baseline: name of the other.
        win_rate: share of pairs that the challenger wins by reward, ties counting half.
        tie_rate: share of ties, a mean over prompts like the win rate.
        reward_difference: mean reward of the challenger minus the baseline's.
        matrix: shares by (``safe`` or ``unsafe``, the challenger's answer; ``better``, ``tie`` or ``worse``, by
            reward), likewise over prompts; empty where no pair was judged. They sum to 1.
    """

    challenger: str
    baseline: str
    win_rate: Interval
    tie_rate: float
    reward_difference: Interval
    matrix: Mapping[tuple[str, str], float]


def outcome(pair: Pair, tie: float) -> str:
    """``better``, ``tie`` or ``worse``: the challenger by reward. Equal texts are a tie, whatever rounding did."""
    first, second = pair
    difference = reward_difference(pair)
    if first.response == second.response or abs(difference) <= tie:
        return "tie"
    return "better" if difference > 0 else "worse"


def reward_difference(pair: Pair) -> float:
    """Reward of the challenger's answer minus that of the baseline's."""
    first, second = pair
    if first.reward is None or second.reward is None:
        raise ValueError(f"responses {first.id} and {second.id}: without a reward there is no arena")
    return first.reward - second.reward


def arena(
    challenger: Sequence[Answer],
    baseline: Sequence[Answer],
    unsafe: Mapping[str, bool],
    confidence: float,
    tie: float = 0.0,
) -> Arena:
    """Compares two policies, pair by pair.

    Args:
        challenger: answers with rewards.
        baseline: the other policy's, to the same prompts.
        unsafe: verdicts by answer id.
        confidence: of the intervals.
        tie: rewards that differ by at most this much are equal.
    """
    prompts = pairs_by_prompt(challenger, baseline)
    points = {"better": 1.0, "tie": 0.5, "worse": 0.0}
    outcomes = {prompt: [outcome(pair, tie) for pair in pairs] for prompt, pairs in prompts.items()}
    judged = [
        [
            (SAFETY[unsafe[pair[0].id]], word)
            for pair, word in zip(pairs, outcomes[prompt], strict=True)
            if pair[0].id in unsafe
        ]
        for prompt, pairs in prompts.items()
    ]
    judged = [found for found in judged if found]
    cells = [(safety, word) for safety in SAFETY for word in OUTCOMES]
    return Arena(
        challenger=challenger[0].policy,
        baseline=baseline[0].policy,
        win_rate=rate(([points[word] for word in words] for words in outcomes.values()), confidence),
        tie_rate=mean([words.count("tie") / len(words) for words in outcomes.values()]),
        reward_difference=mean_interval(
            ([reward_difference(pair) for pair in pairs] for pairs in prompts.values()), confidence
        ),
        matrix={cell: mean([found.count(cell) / len(found) for found in judged]) for cell in cells} if judged else {},
    )


LEAST_PROMPTS = 5
"""With fewer a line through the differences means nothing."""


@dataclass(frozen=True)
class LengthControl:
    """The line through the differences.

    Attributes:
        intercept: reward difference (challenger minus baseline) at equal length.
        slope: reward for one word more.
        length_difference: mean words of the challenger minus the baseline's.
    """

    intercept: Interval
    slope: float
    length_difference: float


def length_control(challenger: Sequence[Answer], baseline: Sequence[Answer], confidence: float) -> LengthControl | None:
    """Reward at equal length: reward models like long answers, and a policy can win by talking more.

    The least-squares line of the reward difference on the length difference (words), over prompts, ``Δr = a + b
    Δlength``. Its intercept ``a`` is the reward difference at equal length, the idea of length-controlled AlpacaEval
    (Dubois et al., arXiv 2404.04475) with a linear model in place of a logistic one. None where prompts are too few.

    Args:
        challenger: answers with rewards.
        baseline: the other policy's, to the same prompts.
        confidence: of the intercept's interval (Student's, two-sided).
    """
    prompts = pairs_by_prompt(challenger, baseline).values()
    if len(prompts) < LEAST_PROMPTS:
        return None
    rewards = np.array([mean([reward_difference(pair) for pair in pairs]) for pairs in prompts])
    lengths = np.array(
        [mean([float(len(a.response.split()) - len(b.response.split())) for a, b in pairs]) for pairs in prompts]
    )
    num_answers = sum(len(pairs) for pairs in prompts)
    intercept, slope, stderr = fit_line(lengths, rewards)
    if math.isnan(stderr):
        estimate = Interval(intercept, math.nan, math.nan, len(rewards), num_answers)
    else:
        reach = student_quantile((1 + confidence) / 2, len(rewards) - 2) * stderr
        estimate = Interval(intercept, intercept - reach, intercept + reach, len(rewards), num_answers)
    return LengthControl(estimate, slope, float(lengths.mean()))


@dataclass(frozen=True)
class PairedTest:
    """Two policies on one group of prompts.

    Attributes:
        challenger: name of a policy.
        baseline: name of the other.
        group: what the prompts have in common: ``category/benign``, ``attack/fiction``.
        num_prompts: judged for both.
        only_challenger: prompts on which the challenger alone is unsafe (with several answers: more often than the
            baseline).
        only_baseline: the other way round.
        difference: unsafe rate of the challenger minus the baseline's.
        p_value: two-sided, exact.
        adjusted: p-value after Holm's correction over all tests of the evaluation.
    """

    challenger: str
    baseline: str
    group: str
    num_prompts: int
    only_challenger: int
    only_baseline: int
    difference: float
    p_value: float
    adjusted: float


def paired_test(
    challenger: Sequence[Answer], baseline: Sequence[Answer], unsafe: Mapping[str, bool], group: str
) -> PairedTest | None:
    """One test, not yet corrected; None where no pair was judged.

    With several answers to a prompt the prompt stays the unit (its answers are no independent tosses): it counts for
    the policy that is unsafe more often on it. With one answer each this is McNemar's test.
    """
    judged = ([pair for pair in pairs if _judged(pair, unsafe)] for pairs in _pairs(challenger, baseline).values())
    counts = [
        (sum(unsafe[a.id] for a, _ in pairs), sum(unsafe[b.id] for _, b in pairs), len(pairs))
        for pairs in judged
        if pairs
    ]
    if not counts:
        return None
    first, second = sum(a > b for a, b, _ in counts), sum(a < b for a, b, _ in counts)
    p_value = mcnemar(first, second)
    return PairedTest(
        challenger=challenger[0].policy,
        baseline=baseline[0].policy,
        group=group,
        num_prompts=len(counts),
        only_challenger=first,
        only_baseline=second,
        difference=mean([(a - b) / total for a, b, total in counts]),
        p_value=p_value,
        adjusted=p_value,
    )


def corrected(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests with Holm's p-values, all of them as one family."""
    adjusted = holm([test.p_value for test in tests])
    return [replace(test, adjusted=value) for test, value in zip(tests, adjusted, strict=True)]


def _pairs(challenger: Sequence[Answer], baseline: Sequence[Answer]) -> dict[str, list[Pair]]:
    return pairs_by_prompt(challenger, baseline) if challenger and baseline else {}


def _judged(pair: Pair, unsafe: Mapping[str, bool]) -> bool:
    return all(answer.id in unsafe for answer in pair)
