"""95 % intervals of a mean over seeds: seeds are drawn with replacement, then prompts within each drawn seed.

Both levels count. Prompts alone would promise that the next training run ends like this one; seeds alone would
take rates over some hundred prompts for exact. With two seeds there are only three different draws of them, and the
interval says little more than how far apart the two are.

Legend of suffixes: S seeds, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.comparison.measures import Rate
from csrlhf.stats.bounds import clopper_pearson_upper

NUM_RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        value: the mean over the seeds that have a number; NaN where none has.
        low: lower end of the interval.
        high: upper end.
        seeds: how many seeds have a number.
    """

    value: float
    low: float
    high: float
    seeds: int


def estimate(
    values: Sequence[Rate | float], num_resamples: int = NUM_RESAMPLES, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Mean and percentile interval of one measure.

    Where every prompt of every seed had the same outcome, the far end is Clopper-Pearson's over all prompts.

    Args:
        values: one per seed; a :class:`Rate` knows its prompts, a number stands for itself. NaN is left out.
        num_resamples: how often seeds are drawn.
        level: of the interval.
        seed: of the draws.
    """
    known = [value for value in values if not math.isnan(_value(value))]
    if not known:
        return Estimate(math.nan, math.nan, math.nan, 0)
    value_S = np.array([_value(value) for value in known])
    rng = np.random.default_rng(seed)
    drawn_RS = rng.integers(len(known), size=(num_resamples, len(known)))
    resampled_RS = value_S[drawn_RS]
    if all(isinstance(value, Rate) for value in known):
        # Of n prompts drawn with replacement from n with h hits, binomially many are hits.
        count_RS = np.array([value.count for value in known if isinstance(value, Rate)])[drawn_RS]
        resampled_RS = rng.binomial(count_RS, resampled_RS) / count_RS
    tail = (1 - level) / 2
    low, high = (float(end) for end in np.quantile(resampled_RS.mean(axis=1), [tail, 1 - tail]))
    count = sum(value.count for value in known if isinstance(value, Rate))
    if count and set(value_S) in ({0.0}, {1.0}):  # resampling knows no other outcome than the one that all prompts had
        reach = clopper_pearson_upper(0, count, 1 - tail)
        low, high = (0.0, reach) if value_S[0] == 0.0 else (1 - reach, 1.0)
    return Estimate(float(value_S.mean()), low, high, len(known))


def _value(value: Rate | float) -> float:
    return value.value if isinstance(value, Rate) else value
