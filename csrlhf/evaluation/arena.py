"""A policy against another: who gets the higher reward, and is it safe when it does?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.pairing import Pair, pairs_by_prompt
from csrlhf.evaluation.rates import Estimate, mean, mean_estimate, rate

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
