"""Upper bounds on the mean of costs in a known range: Hoeffding, empirical Bernstein, betting; Student to compare.

The first three hold for every sample size and every distribution in the range. Student's does not.

Legend of suffixes: N independent values (one per prompt), G bets.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.certify.bounds import student_quantile
from csrlhf.certify.checks import bounded_array, check_confidence, finite_array

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
