"""One-sided upper bounds on a violation rate or a mean cost."""

from __future__ import annotations

import math

from csrlhf.errors import UserError


def check_confidence(key: str, confidence: float) -> float:
    """``confidence`` if it lies in (0, 1)."""
    if not 0 < confidence < 1:
        raise UserError(f"{key}={confidence}: a confidence lies in (0, 1), e.g. 0.95")
    return confidence


def clopper_pearson_upper(num_violations: int, count: int, confidence: float) -> float:
    """Exact upper bound on a rate from ``num_violations`` in ``count`` independent trials (1 for count 0)."""
    if count == 0:
        return 1.0
    from scipy.stats import binomtest  # imported here: half a second that most commands do not need

    test = binomtest(num_violations, count, alternative="less")
    return float(test.proportion_ci(confidence, "exact").high)


def least_count(threshold: float, confidence: float) -> float:
    """Trials without a violation from which on ``clopper_pearson_upper`` is at most the threshold; inf for 0."""
    if threshold <= 0:
        return math.inf
    return math.ceil(math.log1p(-confidence) / math.log1p(-threshold))


def normal_upper(mean: float, stderr: float, confidence: float) -> float:
    """``mean + z · stderr``: approximate, for statistics that are no rate; good for selection, no certificate."""
    from scipy.stats import norm

    if not math.isfinite(stderr):
        return math.inf
    return mean + float(norm.ppf(confidence)) * stderr
