"""Finite-sample bounds on the mean of the worst costs (CVaR), for every sample size and every distribution in [0, 1].

The mean of the worst ``1 - α`` is an integral of the quantile function over its upper end. The uniform
(Dvoretzky-Kiefer-Wolfowitz) band of the empirical distribution, integrated (Thomas and Learned-Miller, ICML 2019, PMLR
97), moves the same mass ``ε = √(ln(1/δ) / 2n)`` everywhere, which is most of a thin tail: with n = 500 and α = 0.9 the
bound is never below 0.55. Here the band is the exact one of a few order statistics: how much of the distribution lies
above the j-th largest cost is a Beta variable whatever the distribution is, so its quantiles bound that mass with a
width of about √j / n, narrow where the tail is thin. The ranks are fixed beforehand, some tens
of them, and share δ. Between them the next rank's bound holds, since a quantile function is monotone.

Legend of suffixes: N costs, J ranks from the largest cost, M = J + 1 pieces of the tail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from csrlhf.errors import UserError
from csrlhf.stats.estimates import Estimate, bounded_array, check_confidence


def tail_mean_estimate(costs: Sequence[float], alpha: float, confidence: float) -> Estimate:
    """The mean of the worst ``1 - alpha`` of the costs, with one-sided bounds.

    Args:
        costs: one per prompt, independent, in [0, 1].
        alpha: in [0, 1).
        confidence: 1 - δ of each end alone.

    Raises:
        UserError: no cost, one outside [0, 1] or not finite, an alpha or a confidence out of range.
    """
    cost_N = np.sort(bounded_array("costs", costs, 0.0, 1.0))[::-1]
    if not 0 <= alpha < 1:
        raise UserError(f"alpha={alpha}: a tail mean is of the worst 1 - alpha, and lies in [0, 1), e.g. 0.9")
    delta = 1 - check_confidence("certify.confidence", confidence)
    count, tail = len(cost_N), 1 - alpha
    rank_J = tail_ranks(count, tail)
    from scipy.special import betaincinv

    # The mass above the j-th largest cost is distributed as the j-th smallest of n uniform draws, Beta(j, n - j + 1);
    # where costs are tied or the distribution has jumps, the bounds on the quantile function still hold.
    each = delta / len(rank_J)
    most_J = betaincinv(rank_J, count - rank_J + 1, 1 - each)
    least_J = betaincinv(rank_J, count - rank_J + 1, each)
    at_rank_J = cost_N[rank_J - 1]
    value = _mean_of_tail(cost_N, np.arange(1, count + 1) / count, tail)
    upper = _mean_of_tail(np.append(1.0, at_rank_J), np.append(most_J, 1.0), tail)
    lower = _mean_of_tail(np.append(at_rank_J, 0.0), np.append(least_J, 1.0), tail)
    return Estimate(value, min(lower, value), max(upper, value), "order statistics (exact)", count)


def tail_ranks(count: int, tail: float) -> NDArray[np.int64]:
    """Ranks, from the largest cost, whose order statistics are looked at: known before any cost is.

    Neighbours are about √j apart, the width of the j-th one's own bound. They reach a little beyond the tail, so that
    the lower bound covers all of it.
    """
    end = min(count, math.ceil(count * tail + 3 * math.sqrt(count * tail)) + 1)
    ranks = [1]
    while ranks[-1] < end:
        ranks.append(min(end, ranks[-1] + math.ceil(math.sqrt(ranks[-1]))))
    return np.array(ranks)


def _mean_of_tail(height_M: NDArray[np.float64], edge_M: NDArray[np.float64], tail: float) -> float:
    """``∫_0^tail q(w) dw / tail``, where q is ``height_M[m]`` on the mass from the largest cost up to ``edge_M[m]``."""
    width_M = np.diff(np.minimum(edge_M, tail), prepend=0.0)
    return float(width_M @ height_M) / tail
