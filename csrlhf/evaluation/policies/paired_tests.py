"""Is one policy safer than the other, or is it chance: McNemar's exact test per group of prompts, Holm-corrected.

Both tests are a line or two with scipy; statsmodels has them too, and would bring pandas into every installation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.arena import Pair, pairs_by_prompt
from csrlhf.evaluation.policies.rates import mean


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


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test: the pairs that differ are fair coin tosses (1 for none)."""
    if only_first + only_second == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): all null hypotheses that are rejected together, at the same error rate."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


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
