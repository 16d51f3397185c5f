"""Confidence intervals by resampling rows; rows that share a prompt move together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Statistic = Callable[[NDArray[np.int64]], Mapping[str, float]]
"""From the indices of the drawn rows to named numbers."""


def bootstrap_intervals(
    statistic: Statistic,
    groups: Sequence[Hashable],
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of every number that ``statistic`` returns, all from the same resamples.

    Args:
        statistic: called with row indices (repeats included) of each resample.
        groups: what row belongs to which group (its prompt): groups are drawn, not rows, since answers to one
            prompt are not independent.
        num_resamples: how often groups are drawn.
        level: the interval's coverage.
        seed: of the draws.

    Returns:
        ``{name: (low, high)}``; resamples in which a number is NaN (one class only) are left out of its interval.
    """
    if not groups:
        raise ValueError("groups is empty: there is nothing to resample")
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    rows_of = [np.array(rows, dtype=np.int64) for rows in members.values()]
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for _ in range(num_resamples):
        drawn = rng.integers(len(rows_of), size=len(rows_of))
        for name, value in statistic(np.concatenate([rows_of[group] for group in drawn])).items():
            draws.setdefault(name, []).append(value)
    tail = (1.0 - level) / 2.0
    return {name: _percentiles(np.array(values), tail) for name, values in draws.items()}


def _percentiles(values: NDArray[np.float64], tail: float) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [tail, 1.0 - tail])
    return float(low), float(high)
