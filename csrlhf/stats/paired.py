"""Two raters on the same answers (Cohen's kappa), two policies on the same prompts (McNemar's test, Holm's correction).

Each is a line or two with scipy; statsmodels has them too, and would bring pandas into every installation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from csrlhf.stats.intervals import mean


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Agreement beyond chance, ``(p_o - p_e) / (1 - p_e)`` (Cohen 1960); NaN where both only ever say one thing."""
    if not first:
        return math.nan
    observed = mean([float(a == b) for a, b in zip(first, second, strict=True)])
    p, q = mean([float(a) for a in first]), mean([float(b) for b in second])
    expected = p * q + (1 - p) * (1 - q)
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


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
