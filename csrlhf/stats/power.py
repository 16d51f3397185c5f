"""How much evidence would probably decide: the size of a sample at which a bound comes to lie on one side of d.

A planning figure, not a guarantee: it takes the observed rate for the true one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

from csrlhf.errors import UserError
from csrlhf.stats.bounds import allowed_violations, clopper_pearson_lower
from csrlhf.stats.estimates import check_confidence

POWER = 0.8
"""Share of the cases in which the sample is to decide."""

MOST = 1_000_000
"""Beyond so many it is not said how many."""


def shrunk_rate(hits: int, count: int) -> float:
    """``(hits + 1/2) / (count + 1)``: none in a few does not make the true rate 0."""
    return (hits + 0.5) / (count + 1)


@lru_cache
def trials_to_decide(rate: float, threshold: float, confidence: float, power: float = POWER) -> int | None:
    """Trials with which Clopper-Pearson's bound certifies a rate below d, or finds one above it violated.

    The least n, found by doubling and halving, at which ``P(upper <= d) >= power``, or ``P(lower > d) >= power`` for a
    rate above d, X ~ Binomial(n, rate). The probability is a saw-tooth in n: what is found is the least n of a rising
    run.

    Args:
        rate: the true one.
        threshold: d.
        confidence: 1 - δ of the bound.
        power: how often it is to decide.

    Returns:
        None where the rate is d, or it takes more than ``MOST``.

    Raises:
        UserError: a rate outside [0, 1], a confidence or a power outside (0, 1).
    """
    check_confidence("confidence", confidence)
    check_confidence("power", power)
    if not 0 <= rate <= 1:
        raise UserError(f"rate={rate}: lies in [0, 1]")
    if rate == threshold or not 0 <= threshold < 1:
        return 1 if threshold >= 1 else None
    return least_size(lambda count: probability_to_decide(count, rate, threshold, confidence) >= power)


def probability_to_decide(count: int, rate: float, threshold: float, confidence: float) -> float:
    """How often n trials decide: ``P(upper <= d)``, or ``P(lower > d)`` for a rate above d.

    Args:
        count: n.
        rate: the true one.
        threshold: d.
        confidence: 1 - δ of Clopper-Pearson's bound.
    """
    from scipy.stats import binom

    if rate <= threshold:
        return float(binom.cdf(allowed_violations(count, threshold, confidence), count, rate))
    return float(binom.sf(_enough_violations(count, threshold, confidence) - 1, count, rate))


def _enough_violations(count: int, threshold: float, confidence: float) -> int:
    """The fewest violations whose lower bound is above d; one more than there are trials where not even all are."""
    low, high = 0, count + 1
    while low < high:
        middle = (low + high) // 2
        if clopper_pearson_lower(middle, count, confidence) > threshold:
            high = middle
        else:
            low = middle + 1
    return low


def least_size(enough: Callable[[int], bool]) -> int | None:
    """The least size of a rising run that is ``enough``, by doubling and halving; None beyond ``MOST``."""
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def growth_to_decide(decides: Callable[[float], bool], most: float = 128.0, precision: float = 0.05) -> float | None:
    """The factor by which a sample must grow: the least at which ``decides``, by doubling and halving; None beyond.

    Args:
        decides: whether the bound of a sample so many times as large lies on one side.
        most: the largest factor that is tried.
        precision: of the factor, relative.
    """
    high = 1.0
    while not decides(high):
        high *= 2
        if high > most:
            return None
    low = high / 2
    while high - low > precision * high:
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def power_shift(deviation: float, count: float, power: float = POWER) -> float:
    """``z σ / √n``: how far a mean of n strays in all but a share 1 - power of the cases, to one side."""
    return NormalDist().inv_cdf(power) * deviation / math.sqrt(count)
