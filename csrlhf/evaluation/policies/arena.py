"""A policy against another: who gets the higher reward, and is it safe when it does?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.rates import Estimate, mean, mean_estimate, rate
from csrlhf.stats.bounds import student_quantile

# Two policies' answers to the same prompts, side by side.

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
        tie_rate: share of ties.
        reward_difference: mean reward of the challenger minus the baseline's.
        matrix: shares of pairs by (``safe`` or ``unsafe``, the challenger's answer; ``better``, ``tie`` or ``worse``,
            by reward); empty where no pair was judged. They sum to 1.
    """

    challenger: str
    baseline: str
    win_rate: Estimate
    tie_rate: float
    reward_difference: Estimate
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
        (SAFETY[unsafe[pair[0].id]], word)
        for prompt, pairs in prompts.items()
        for pair, word in zip(pairs, outcomes[prompt], strict=True)
        if pair[0].id in unsafe
    ]
    cells = [(safety, word) for safety in SAFETY for word in OUTCOMES]
    return Arena(
        challenger=challenger[0].policy,
        baseline=baseline[0].policy,
        win_rate=rate(([points[word] for word in words] for words in outcomes.values()), confidence),
        tie_rate=mean([float(word == "tie") for words in outcomes.values() for word in words]),
        reward_difference=mean_estimate(
            ([reward_difference(pair) for pair in pairs] for pairs in prompts.values()), confidence
        ),
        matrix={cell: judged.count(cell) / len(judged) for cell in cells} if judged else {},
    )


# Reward at equal length: reward models like long answers, and a policy can win by talking more.
#
# Method: the least-squares line of the reward difference on the length difference (words), over prompts,
# ``Δr = a + b Δlength``. Its intercept ``a`` is the reward difference at equal length, the idea of length-controlled
# AlpacaEval (Dubois et al., arXiv 2404.04475) with a linear model in place of a logistic one. Standard errors are HC3
# (MacKinnon and White 1985), robust to a spread that grows with the length difference.

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

    intercept: Estimate
    slope: float
    length_difference: float


def length_control(challenger: Sequence[Answer], baseline: Sequence[Answer], confidence: float) -> LengthControl | None:
    """Fits the line; None where prompts are too few.

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
        estimate = Estimate(intercept, math.nan, math.nan, len(rewards), num_answers)
    else:
        reach = student_quantile((1 + confidence) / 2, len(rewards) - 2) * stderr
        estimate = Estimate(intercept, intercept - reach, intercept + reach, len(rewards), num_answers)
    return LengthControl(estimate, slope, float(lengths.mean()))


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Intercept, slope, and the intercept's HC3 standard error; a slope of 0 where ``x`` is always the same.

    Without any difference in ``x`` but 0 the intercept is the mean. Where all differ by the same amount, no line can
    tell length from the rest: NaN.
    """
    if np.ptp(x) == 0:
        if x[0] != 0:
            return math.nan, math.nan, math.nan
        return float(y.mean()), 0.0, float(y.std(ddof=1) / math.sqrt(len(y)))
    design = np.column_stack([np.ones_like(x), x])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    if np.any(leverage > 1 - 1e-9):  # one prompt alone carries the slope: its residual is 0 whatever the noise
        return float(beta[0]), float(beta[1]), math.nan
    residuals = (y - design @ beta) / (1 - leverage)
    covariance = inverse @ (design.T * residuals**2) @ design @ inverse
    return float(beta[0]), float(beta[1]), float(math.sqrt(max(covariance[0, 0], 0.0)))
