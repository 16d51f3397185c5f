"""λ*, the optimal dual variable: its estimates, and the diagnostic whether a fixed λ lies above it.

Estimated from a sweep (:func:`frontier_slope`), from a run with a plain gate (:func:`duty_cycle_estimate`), from a dual
run (:func:`dual_tail`) and from a strictly feasible policy (:func:`slater_bound`). Above λ* an exact penalty's optimum
keeps the constraint; :func:`exact_penalty` says whether a run's λ is, and is never called a certificate.

Legend of suffixes: T iterations of a run's history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.errors import UserError
from csrlhf.stats.bounds import clopper_pearson_lower, clopper_pearson_upper, student_quantile
from csrlhf.stats.estimates import Estimate, check_confidence, finite_array

# The late part of a run's history that no longer drifts: what estimates of λ* are read from.
#
# A column of ``history.csv`` (``penalty/multiplier``, ``penalty/weight``, ``constraint/<name>/cost``) begins with the
# way there. Its last third is taken, as everywhere in this project, and less where that still moves one way.

SHARES = (1 / 3, 1 / 4, 1 / 6)
"""Tails that are tried, longest first."""

NUM_BATCHES = 6
"""Means over batches are nearly independent where single iterations are not."""

DRIFT_CONFIDENCE = 0.99
"""A slope over the batches, or a first batch against the others, that is this unlikely on either side is a drift."""


@dataclass(frozen=True)
class Tail:
    """The part that was read.

    Attributes:
        start: its first iteration, from 0.
        values: the iterations from there on.
        mean: over them.
        stderr: of the mean, from batch means, so that it holds for neighbours that go together.
        count: how many independent iterations would give this standard error; at most as many as there are.
        drift: change from the first to the last batch along the fitted line.
        drifting: the drift is more than the scatter of the batches explains: even the shortest tail still moves.
    """

    start: int
    values: tuple[float, ...]
    mean: float
    stderr: float
    count: int
    drift: float
    drifting: bool


def stationary_tail(values: ArrayLike) -> Tail:
    """The longest of the last third, quarter and sixth that does not drift; the sixth, marked, where all do.

    Source: batch means, e.g. Geyer (1992), Statistical Science 7; the drift is a t-test on the slope over them, and
    one of the first against the others, which a way there that ends within it shows.

    Raises:
        UserError: fewer than 36 iterations (the sixth has no batches then), or one that is not finite.
    """
    value_T = finite_array("values", values)
    least = round(NUM_BATCHES / min(SHARES))
    if len(value_T) < least:
        raise UserError(f"values: {len(value_T)} iterations are too few to tell a drift from noise; {least} are needed")
    tails = [_tail(value_T, len(value_T) - math.floor(len(value_T) * share)) for share in SHARES]
    return next((tail for tail in tails if not tail.drifting), tails[-1])


def _tail(value_T: np.ndarray, start: int) -> Tail:
    late_T = value_T[start:]
    mean_B = np.array([part.mean() for part in np.array_split(late_T, NUM_BATCHES)])
    stderr = float(mean_B.std(ddof=1)) / math.sqrt(NUM_BATCHES)
    place_B = np.arange(NUM_BATCHES) - (NUM_BATCHES - 1) / 2
    slope = float(place_B @ mean_B / (place_B @ place_B))
    residual_B = mean_B - mean_B.mean() - slope * place_B
    slope_error = math.sqrt(float(residual_B @ residual_B) / (NUM_BATCHES - 2) / float(place_B @ place_B))
    rounding = 1e-9 * max(1e-300, float(np.abs(late_T).max()))
    unlikely = student_quantile(DRIFT_CONFIDENCE, NUM_BATCHES - 2)
    slope_limit = max(rounding, unlikely * slope_error)
    others_B = mean_B[1:]
    first_limit = max(rounding, unlikely * float(others_B.std(ddof=1)) * math.sqrt(1 + 1 / len(others_B)))
    drifting = abs(slope) > slope_limit or abs(float(mean_B[0] - others_B.mean())) > first_limit
    spread = float(late_T.var())
    count = len(late_T) if stderr <= rounding else min(len(late_T), max(1, math.floor(spread / stderr**2)))
    drift = slope * (NUM_BATCHES - 1)
    return Tail(start, tuple(late_T.tolist()), float(late_T.mean()), stderr, count, drift, drifting)


MOST_CLIPPED = 0.5
"""Share of late steps that the gradient clip may cut before λ counts as without effect."""


def late_mean(values: ArrayLike) -> float:
    """Over the last third of the iterations; 0 where there are none."""
    value_T = np.asarray(values, dtype=np.float64)
    return float(value_T[-max(len(value_T) // 3, 1) :].mean()) if len(value_T) else 0.0


SPREADS = ("whiten", "scale", "group")
"""``advantage.normalise`` by the mixed advantage's own spread."""


def no_effect(advantage: str, normalise: str | None) -> str | None:
    """Why a fixed λ behind a gate moves nothing with this estimator; None where it does.

    What divides the mixed advantage by a scale that follows the gate takes the constant normaliser back: open and
    closed iterations make steps of the same length, and the gate settles at a duty cycle that λ hardly moves.

    Args:
        advantage: the estimator's class.
        normalise: ``advantage.normalise``; None where it has no such key (of ``GroupNorm``: a run before it had one).
    """
    if advantage == "GroupNorm" and normalise is None:
        normalise = "group"
    if normalise in SPREADS:
        return f"advantage.normalise={normalise} divides by the mixed advantage's spread, which follows the gate"
    return None


def why_inert(advantage: str, normalise: str | None, clip_active: ArrayLike) -> str | None:
    """Why nothing of a run tells λ*; None where it does.

    Args:
        advantage: as of :func:`no_effect`.
        normalise: likewise.
        clip_active: ``policy/clip_active`` of each iteration, from the first; empty where it was not logged.
    """
    if (reason := no_effect(advantage, normalise)) is not None:
        return f"{reason}: λ had no effect"
    if normalise == "per_channel":
        return "advantage.normalise=per_channel makes λ a price in units of σ_r / σ_c, which moved during the run"
    if (clipped := late_mean(clip_active)) > MOST_CLIPPED:
        share = f"{100 * clipped:.0f} %"
        return f"the gradient clip (ppo.policy_grad_clip) was active in {share} of the late steps: λ had little effect"
    return None


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


OWN_BATCH = "batch"
"""``penalty.gate`` that sees the responses that it acts on; see ``csrlhf.penalties.base.GATES``."""


def duty_cycle_estimate(
    multiplier: float, gates: ArrayLike, normaliser: str = "fixed", gate: str = OWN_BATCH, confidence: float = 0.95
) -> Estimate:
    """λ* as λ s, s the share of late iterations in which a gate without margin was open.

    With a constant normaliser the mean weight is λ* once the policy is stationary, whatever the step sizes are; with
    one that follows the gate it is not, and the reading is refused. Bounds: Clopper-Pearson over as many iterations as
    are worth independent ones. Always open says λ <= λ* and nothing more: the upper end is infinite.

    A gate that sees its own batch is open too rarely (by a tenth to a half, docs/explanation/gates.md): its mean
    weight is a lower bound of λ* and no more, and the upper end is infinite there, too.

    Args:
        multiplier: the fixed λ.
        gates: one per iteration, from the first: open or closed; where it differs between prompts
            (``penalty.gate=leave_one_out``), the share of answers for which it was open: ``penalty/weight`` / λ.
        normaliser: of the run (``penalty.normaliser``).
        gate: of the run (``penalty.gate``).
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
    gate_T = finite_array("gates", gates).astype(np.float64)
    if gate_T.min() < 0 or gate_T.max() > 1 + 1e-6:
        raise UserError(f"gates: a share of answers lies in [0, 1], not at {gate_T.min():g} or {gate_T.max():g}")
    tail = stationary_tail(gate_T.clip(max=1.0))
    expected = tail.mean * tail.count
    lower = multiplier * clopper_pearson_lower(math.floor(expected), tail.count, confidence)
    upper = multiplier * clopper_pearson_upper(math.ceil(expected), tail.count, confidence)
    words = f"duty cycle from iteration {tail.start}{', still drifting' if tail.drifting else ''}"
    if gate == OWN_BATCH:
        words += ", a lower bound: the gate saw its own batch"
    is_open = gate == OWN_BATCH or tail.mean == 1
    return Estimate(multiplier * tail.mean, lower, math.inf if is_open else upper, words, tail.count)


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


# The exact-penalty diagnostic: is the fixed λ above the λ* at which the penalty's optimum keeps the constraint?
#
# It says something about the optimum of training, and nothing about the policy at hand: it is never the certificate.

__all__ = ["ExactPenalty", "dual_tail", "duty_cycle_estimate", "exact_penalty", "frontier_slope", "slater_bound"]

MARGIN = 1.2
"""λ must be this many times the upper end of λ*."""

LARGEST_DUTY = 0.9
"""A gate that is open more often cannot be told from one that never closes."""


@dataclass(frozen=True)
class ExactPenalty:
    """The diagnostic.

    Attributes:
        multiplier: λ.
        estimates: of λ*, by method; the second of one method is "... (2)".
        upper: λ*_U, the largest upper end of the estimates that have one, or the Slater bound where that is smaller;
            never below a lower end.
        epsilon: ``δ_opt / (λ - λ*_U)``: a policy short of the penalised optimum by δ_opt violates by no more; infinite
            for λ <= λ*_U, None where δ_opt is not known.
        crude: ``span(r) / λ``, the paper's: needs no λ*; None where the span is not known.
        duty: late share of open gates, None where not known.
        certified: the certificate's verdict on the violation rate is CERTIFIED.
        passed: λ >= 1.2 λ*_U, duty < 0.9, certified, and two methods at least.
        reasons: in words, why not.
    """

    multiplier: float
    estimates: dict[str, Estimate]
    upper: float
    epsilon: float | None
    crude: float | None
    duty: float | None
    certified: bool
    passed: bool
    reasons: tuple[str, ...]


def exact_penalty(
    multiplier: float,
    estimates: Sequence[Estimate],
    duty: float | None,
    certified: bool,
    suboptimality: float | None = None,
    reward_span: float | None = None,
) -> ExactPenalty:
    """Put the estimates together and apply the rule.

    Args:
        multiplier: the run's fixed λ.
        estimates: of λ*.
        duty: late share of open gates of the run itself; None is a reason not to pass.
        certified: whether the violation rate is certified.
        suboptimality: δ_opt, how far the run may be from the penalised optimum.
        reward_span: ``sup r - inf r``.
    """
    for name, value in (("multiplier", multiplier), ("suboptimality", suboptimality), ("reward_span", reward_span)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UserError(f"{name}={value}: must be a finite number, 0 or more")
    if multiplier == 0:
        raise UserError("multiplier=0: without a penalty there is nothing to diagnose")
    if duty is not None and not 0 <= duty <= 1:
        raise UserError(f"duty={duty}: a share of iterations lies in [0, 1]")
    bounding = [estimate for estimate in estimates if math.isfinite(estimate.upper)]  # the others bound from below
    read = [estimate.upper for estimate in bounding if estimate.method != SLATER]
    slater = [estimate.upper for estimate in bounding if estimate.method == SLATER]
    upper = max([min([max(read, default=math.inf), *slater]), *(estimate.lower for estimate in estimates)])
    methods = {estimate.method.split(" from ")[0] for estimate in bounding}
    reasons = []
    if len(methods) < 2:
        reasons.append(
            f"λ* is bounded from above in {len(methods)} way{'' if len(methods) == 1 else 's'}; two are needed"
        )
    if not multiplier >= MARGIN * upper:
        reasons.append(f"λ = {multiplier:g} is below {MARGIN} λ*_U = {MARGIN * upper:.3g}")
    if duty is None:
        reasons.append("the run's duty cycle is not known")
    elif duty >= LARGEST_DUTY:
        reasons.append(f"the gate was open in {duty:.2g} of the late iterations; less than {LARGEST_DUTY} is needed")
    if not certified:
        reasons.append("the violation rate is not certified")
    epsilon = None
    if suboptimality is not None:
        epsilon = suboptimality / (multiplier - upper) if multiplier > upper else math.inf
    return ExactPenalty(
        multiplier=multiplier,
        estimates=_named(estimates),
        upper=upper,
        epsilon=epsilon,
        crude=None if reward_span is None else reward_span / multiplier,
        duty=duty,
        certified=certified,
        passed=not reasons,
        reasons=tuple(reasons),
    )


def _named(estimates: Sequence[Estimate]) -> dict[str, Estimate]:
    """Two runs may be read from the same iteration on: neither is to be lost."""
    named: dict[str, Estimate] = {}
    for estimate in estimates:
        same = sum(other.method == estimate.method for other in named.values())
        named[estimate.method + (f" ({same + 1})" if same else "")] = estimate
    return named
