"""Finite-sample bounds: on a rate, and on the mean of bounded costs.

The unit is a prompt, with one response each. Student's bound on a mean is here to compare: it does not hold for every
sample size and every distribution, the others do.

Legend of suffixes: N independent values (one per prompt), G bets.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.stats.estimates import (
    bounded_array,
    check_confidence,  # callers have it from here
    check_counts,
    finite_array,
)


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


# Upper bounds on the mean of costs in a known range: Hoeffding, empirical Bernstein, betting; Student to compare.
#
# Legend of suffixes: N independent values (one per prompt), G bets.

BETS = np.arange(1, 11) / 10
"""Shares of the largest bet that can never go bankrupt."""


def hoeffding_upper(values: ArrayLike, confidence: float, low: float = 0.0, high: float = 1.0) -> float:
    """``mean + (high - low) √(ln(1/δ) / 2n)``, at most ``high``.

    Source: Hoeffding (1963), JASA 58. Knows nothing of the spread: wide for rare costs.

    Args:
        values: one per prompt, independent.
        confidence: 1 - δ.
        low: the smallest value that is possible.
        high: the largest.

    Raises:
        UserError: no value, one outside the range or not finite, a confidence outside (0, 1).
    """
    value_N = bounded_array("values", values, low, high)
    delta = 1 - check_confidence("confidence", confidence)
    reach = (high - low) * math.sqrt(math.log(1 / delta) / (2 * len(value_N)))
    return min(high, float(value_N.mean()) + reach)


def empirical_bernstein_upper(values: ArrayLike, confidence: float, low: float = 0.0, high: float = 1.0) -> float:
    """``mean + √(2 V ln(2/δ) / n) + 7 (high - low) ln(2/δ) / (3 (n - 1))``, V the sample variance; at most ``high``.

    Source: Maurer and Pontil (2009), arXiv 0907.3740, theorem 4. Arguments and errors as :func:`hoeffding_upper`;
    a single value gives ``high``.
    """
    value_N = bounded_array("values", values, low, high)
    log_term = math.log(2 / (1 - check_confidence("confidence", confidence)))
    count = len(value_N)
    if count < 2:
        return high
    spread = math.sqrt(2 * float(value_N.var(ddof=1)) * log_term / count)
    return min(high, float(value_N.mean()) + spread + 7 * (high - low) * log_term / (3 * (count - 1)))


def betting_upper(values: ArrayLike, confidence: float, low: float = 0.0, high: float = 1.0) -> float:
    """The smallest mean that a gambler cannot discredit: usually the tightest of the three.

    Scaled to [0, 1], with p = 1 - m: against "the mean is m or more" a capital of 1 becomes
    ``K(m) = mean_b Π_i (1 - b (x_i - m) / p)``, b one of 10 constant bets. If the mean is at least m, E[K(m)] <= 1, so
    ``P(K(m) >= 1/δ) <= δ`` (Markov). K grows with m: the bound is the m at which it is 1/δ.

    Source: Waudby-Smith and Ramdas (2024), arXiv 2010.09686, the grid-Kelly bets, one-sided. Only the final capital
    counts, so the order of the values does not matter. Arguments and errors as :func:`hoeffding_upper`.
    """
    unit_N = (bounded_array("values", values, low, high) - low) / (high - low)
    log_target = math.log(1 / (1 - check_confidence("confidence", confidence)))
    rest_U, number_U = np.unique(1 - unit_N, return_counts=True)  # equal costs are one factor with an exponent
    from scipy.optimize import brentq

    def surplus(p: float) -> float:
        with np.errstate(divide="ignore"):  # the full bet loses everything at a cost of 1: log 0
            log_factor_GU = np.log1p(BETS[:, None] * (rest_U / p - 1))
        return float(np.logaddexp.reduce(log_factor_GU @ number_U)) - math.log(len(BETS)) - log_target

    mean_p, smallest_p = float((1 - unit_N).mean()), 1e-12
    if mean_p <= smallest_p or surplus(smallest_p) <= 0:
        return high
    # At the sample's mean no gambler has won. brentq returns the root alone here, which its types do not say.
    p = float(brentq(surplus, smallest_p, mean_p, xtol=1e-10))  # pyright: ignore[reportArgumentType]
    return min(high, high - p * (high - low))


def student_upper(values: ArrayLike, confidence: float) -> float:
    """``mean + t · s / √n``: approximate, a comparison and no certificate; infinite for a single value.

    HC-RLHF's (arXiv 2506.08266). It covers less often than stated where costs are rare or skewed; figures:
    docs/explanation/certificates.md.
    """
    value_N = finite_array("values", values)
    check_confidence("confidence", confidence)
    count = len(value_N)
    if count < 2:
        return math.inf
    stderr = float(value_N.std(ddof=1)) / math.sqrt(count)
    return float(value_N.mean()) + student_quantile(confidence, count - 1) * stderr
