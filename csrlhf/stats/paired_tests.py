"""Is a difference between two policies chance: McNemar's exact test, and Holm's correction over several of them.

Both are a line or two with scipy; statsmodels has them too, and would bring pandas into every installation.
"""

from __future__ import annotations

from collections.abc import Sequence


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
