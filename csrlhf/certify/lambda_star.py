"""Estimates of λ*, the optimal dual variable: above it an exact penalty's optimum keeps the constraint.

From a sweep (:func:`frontier_slope`), from a run with a plain gate (:func:`duty_cycle_estimate`), from a dual run
(:func:`dual_tail`) and from a strictly feasible policy (:func:`slater_bound`).

Legend of suffixes: T iterations of a run's history.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.certify.bounds import clopper_pearson_lower, clopper_pearson_upper, student_quantile
from csrlhf.certify.checks import check_confidence, finite_array
from csrlhf.certify.estimate import Estimate
from csrlhf.certify.tail import NUM_BATCHES, stationary_tail
from csrlhf.errors import UserError

CONSTANT_NORMALISERS = ("fixed", "none")
SLATER = "Slater bound"


def frontier_slope(costs: ArrayLike, rewards: ArrayLike, threshold: float) -> Estimate:
    """λ* as the slope of the reward-cost frontier at d: ``dR/dJ`` of its concave upper hull.

    The value is the slope of the hull's segment over d. Of a concave frontier the slope at d lies between those of the
    neighbouring segments: that bracket is no confidence interval, and where a neighbour is missing it is open.

    Args:
        costs: J of each run of a sweep over λ, at its end.
        rewards: what the runs maximise besides, less β KL where they have it.
        threshold: d; some run must lie on either side.

    Raises:
        UserError: fewer than two runs, lists of different lengths, or no run on one side of d.
    """
    cost, reward = finite_array("costs", costs), finite_array("rewards", rewards)
    if len(cost) != len(reward):
        raise UserError(f"costs ({len(cost)}) and rewards ({len(reward)}) must be of the same runs, in order")
    if not cost.min() < threshold < cost.max():
        raise UserError(
            f"threshold={threshold:g}: the runs' costs go from {cost.min():g} to {cost.max():g}, and the slope is read "
            f"between two runs on either side of it; add a {'larger' if cost.min() >= threshold else 'smaller'} λ"
        )
    hull = _upper_hull(cost, reward)
    slopes = np.diff(hull[:, 1]) / np.diff(hull[:, 0])
    place = int(np.searchsorted(hull[:, 0], threshold, side="left")) - 1  # of the segment that holds d
    # at a corner of the hull the slope is anything between those of the two segments that meet there
    left, right = (place, place + 1) if hull[place + 1, 0] == threshold else (place - 1, place + 1)
    value = float(slopes[place : right + (left == place)].mean())
    lower = float(slopes[right]) if right < len(slopes) else 0.0
    upper = float(slopes[left]) if left >= 0 else math.inf
    value, lower, upper = (max(0.0, slope) for slope in (value, lower, upper))
    return Estimate(value, lower, upper, "frontier slope at d", len(cost))


def _upper_hull(cost: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """Corners of the least concave function over the points, by rising cost (Andrew's monotone chain)."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted({float(c): float(reward[cost == c].max()) for c in cost}.items()):
        while len(corners) > 1:
            (ax, ay), (bx, by) = corners[-2:]
            if (by - ay) * (x - ax) > (y - ay) * (bx - ax):
                break
            corners.pop()
        corners.append((x, y))
    return np.array(corners)


def duty_cycle_estimate(
    multiplier: float, gates: ArrayLike, normaliser: str = "fixed", confidence: float = 0.95
) -> Estimate:
    """λ* as λ s, s the share of late iterations in which a plain gate was open.

    With a constant normaliser the mean weight is λ* once the policy is stationary, whatever the step sizes are; with
    one that follows the gate it is not, and the reading is refused. Bounds: Clopper-Pearson over as many iterations as
    are worth independent ones. Always open says λ <= λ* and nothing more: the upper end is infinite.

    Args:
        multiplier: the fixed λ.
        gates: one per iteration, from the first: open or closed (``penalty/weight`` > 0).
        normaliser: of the run (``penalty.normaliser``).
        confidence: of each end alone.
    """
    if normaliser not in CONSTANT_NORMALISERS:
        raise UserError(
            f"penalty.normaliser={normaliser}: the duty cycle tells λ* only where the normaliser is constant "
            f"({' or '.join(CONSTANT_NORMALISERS)}); it would come out too large here"
        )
    if not (math.isfinite(multiplier) and multiplier > 0):
        raise UserError(f"multiplier={multiplier}: the duty cycle needs a fixed λ above 0")
    check_confidence("confidence", confidence)
    gate_T = np.asarray(gates, dtype=np.float64) > 0
    tail = stationary_tail(gate_T.astype(np.float64))
    expected = tail.mean * tail.count
    lower = multiplier * clopper_pearson_lower(math.floor(expected), tail.count, confidence)
    upper = multiplier * clopper_pearson_upper(math.ceil(expected), tail.count, confidence)
    words = f"duty cycle from iteration {tail.start}{', still drifting' if tail.drifting else ''}"
    return Estimate(multiplier * tail.mean, lower, math.inf if tail.mean == 1 else upper, words, tail.count)


def dual_tail(multipliers: ArrayLike, confidence: float = 0.95) -> Estimate:
    """λ* as the late mean of a dual run's multiplier; Student's bounds over batch means.

    Where even the shortest tail drifts (a multiplier falls slowly after its overshoot, since no violation is below -d)
    the bounds take in the whole tail and, on the side it moves to, as much again as it moved.

    Args:
        multipliers: λ of each iteration, from the first.
        confidence: of each end alone.
    """
    check_confidence("confidence", confidence)
    tail = stationary_tail(multipliers)
    reach = student_quantile(confidence, NUM_BATCHES - 1) * tail.stderr
    lower, upper, words = tail.mean - reach, tail.mean + reach, f"dual tail from iteration {tail.start}"
    if tail.drifting:
        ahead = tail.values[-1] + tail.drift
        lower, upper = min(lower, ahead, *tail.values), max(upper, ahead, *tail.values)
        words += f", still drifting by {tail.drift:+.2g}"
    return Estimate(tail.mean, max(0.0, lower), upper, words, tail.count)


def slater_bound(best_reward: float, feasible_reward: float, feasible_cost: float, threshold: float) -> Estimate:
    """``λ* <= (sup r - r(π)) / (d - J(π))`` for any policy π with J(π) < d. True, and usually far too large.

    Args:
        best_reward: no policy has more (an upper bound, or that of a run with ``penalty=none``).
        feasible_reward: of π.
        feasible_cost: J of π.
        threshold: d.
    """
    numbers = {"best_reward": best_reward, "feasible_reward": feasible_reward, "feasible_cost": feasible_cost}
    for name, value in {**numbers, "threshold": threshold}.items():
        if not math.isfinite(value):
            raise UserError(f"{name}={value}: must be a finite number")
    if feasible_cost >= threshold:
        raise UserError(f"feasible_cost={feasible_cost:g}: the policy must keep d={threshold:g} with room to spare")
    bound = max(0.0, best_reward - feasible_reward) / (threshold - feasible_cost)
    return Estimate(bound, 0.0, bound, SLATER, 1)
