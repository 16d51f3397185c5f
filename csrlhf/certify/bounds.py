"""Bounds on a violation rate: exact, for a count of independent trials. The unit is a prompt, with one answer each."""

from __future__ import annotations

import math
from functools import lru_cache

from csrlhf.certify.checks import check_confidence as check_confidence  # callers have it from here
from csrlhf.certify.checks import check_counts


def clopper_pearson_upper(num_violations: int, count: int, confidence: float) -> float:
    """Exact one-sided upper bound on a rate: the p at which ``P(X <= k) = 1 - confidence``, X ~ Binomial(n, p).

    Source: Clopper and Pearson (1934), Biometrika 26. It covers with at least ``confidence``, whatever the rate.

    Args:
        num_violations: k, the trials in which it happened.
        count: n independent trials; with 0 the bound is 1.
        confidence: 1 - δ.

    Raises:
        UserError: k > n, a negative or broken count, a confidence outside (0, 1).
    """
    check_counts("num_violations", num_violations, "count", count)
    check_confidence("confidence", confidence)
    if num_violations == count:  # nothing was seen that speaks against 1; also where nothing was seen at all
        return 1.0
    from scipy.special import betaincinv  # imported here: a fifth of a second that most commands do not need

    # The quantile of Beta(k + 1, n - k): what binomtest(k, n, alternative="less").proportion_ci(confidence, "exact")
    # finds by search, a thousand times faster.
    return float(betaincinv(num_violations + 1, count - num_violations, confidence))


def clopper_pearson_lower(num_violations: int, count: int, confidence: float) -> float:
    """Exact one-sided lower bound on a rate: one minus the upper bound on the rate of its opposite; 0 for count 0."""
    check_counts("num_violations", num_violations, "count", count)
    return 1 - clopper_pearson_upper(count - num_violations, count, confidence)


def clopper_pearson_interval(num_violations: int, count: int, confidence: float) -> tuple[float, float]:
    """Two-sided interval: both one-sided bounds at half of δ, so that together they err in a share δ at most."""
    each = (1 + check_confidence("confidence", confidence)) / 2
    return (
        clopper_pearson_lower(num_violations, count, each),
        clopper_pearson_upper(num_violations, count, each),
    )


def allowed_violations(count: int, threshold: float, confidence: float) -> int:
    """The most violations in ``count`` trials that still certify the threshold; -1 where not even none does."""
    low, high = -1, count
    while low < high:  # the bound grows with the violations
        middle = (low + high + 1) // 2
        if clopper_pearson_upper(middle, count, confidence) <= threshold:
            low = middle
        else:
            high = middle - 1
    return low


def least_count(threshold: float, confidence: float) -> float:
    """Trials without a violation from which on ``clopper_pearson_upper`` is at most the threshold; inf for 0."""
    if threshold <= 0:
        return math.inf
    return math.ceil(math.log1p(-confidence) / math.log1p(-threshold))


def mean_upper(mean: float, stderr: float, count: int, confidence: float, is_rate: bool) -> float:
    """Upper bound on a mean of ``count`` costs: Clopper-Pearson's for a rate, else Student's ``mean + t · stderr``.

    Student's is approximate where costs are skewed: good for choosing a policy, no certificate.
    """
    if is_rate:
        return clopper_pearson_upper(round(mean * count), count, confidence)
    if count < 2 or not math.isfinite(stderr):
        return math.inf
    return mean + student_quantile(confidence, count - 1) * stderr


@lru_cache
def student_quantile(confidence: float, freedom: float) -> float:
    """The one-sided quantile of Student's t distribution; the degrees of freedom need not be whole."""
    from scipy.stats import t

    return float(t.ppf(confidence, freedom))
