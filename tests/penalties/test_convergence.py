"""Where each strategy ends, on a problem whose answer is known in closed form (``benchmarks/bandit/problem.py``).

The real strategy objects drive a policy-gradient ascent with noisy batches; what is compared is the mean over the last
half of the steps. The step is ``1 + λ`` times 1, so that a constant normaliser leaves the same step for every λ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from benchmarks.bandit.problem import Path, ascend, example
from csrlhf.penalties import (
    P3O,
    PID,
    Adaptive,
    AugmentedLagrangian,
    Huber,
    Lagrangian,
    Linear,
    LogBarrier,
    NoPenalty,
    Penalty,
    Rectified,
    SampleHinge,
    Softplus,
    Squared,
    Switching,
)

BANDIT = example()
OPTIMAL = BANDIT.solve()
BEST = BANDIT.value(BANDIT.optimum(OPTIMAL))
LIMIT = BANDIT.threshold
BATCH = 512
NOISE = math.sqrt(LIMIT * (1 - LIMIT) / BATCH)  # σ / √B at the threshold, for costs of 0 or 1
QUIET = 8192  # a batch whose noise hides no smooth strategy's fixed point


def run(penalty: Penalty, step: float | None = None, steps: int = 1000, **options) -> Path:
    """An ascent whose step makes up for a constant normaliser of 1 + λ."""
    multiplier = getattr(penalty, "multiplier", 0.0)
    return ascend(BANDIT, penalty, steps=steps, lr=1 + multiplier if step is None else step, **options)


def duty(path: Path) -> float:
    """Share of the last half of the steps with a cost weight above 0."""
    return path.tail(path.weight_S > 0)


def settles(weight: Callable[[float], float]) -> float:
    """The violation at which a smooth weight is the price that the policy there is optimal for, without noise."""
    return brentq(lambda v: BANDIT.cost(BANDIT.optimum(weight(v))) - LIMIT - v, 1e-9 - LIMIT, 0.6)


@cache
def rectified(ratio: float, margin_z: float = 0.0, normaliser: str = "fixed") -> Path:
    """``rectified`` at λ = ratio · λ*."""
    penalty = Rectified(ratio * OPTIMAL, margin_z=margin_z, normaliser=normaliser)
    return run(penalty, step=None if normaliser == "fixed" else 1.0)


def test_the_closed_form_is_the_constrained_optimum() -> None:
    assert BANDIT.cost(BANDIT.optimum(OPTIMAL)) == pytest.approx(LIMIT, abs=1e-9)
    rng = np.random.default_rng(1)
    start = BANDIT.optimum(OPTIMAL)
    values = []
    for scale in np.geomspace(1e-3, 3.0, 400):
        other = start * np.exp(scale * rng.normal(size=len(start)))
        harmful = BANDIT.cost(other) / (BANDIT.cost(other) + other @ (1 - BANDIT.cost_N))
        other *= np.where(BANDIT.cost_N > 0, LIMIT / harmful, (1 - LIMIT) / (1 - harmful))  # to a cost of d
        other /= other.sum()
        assert BANDIT.cost(other) == pytest.approx(LIMIT)
        values.append(BANDIT.value(other))
    assert max(values) < BEST
    assert max(values) == pytest.approx(BEST, abs=1e-4)


def test_without_a_penalty_reward_wins() -> None:
    path = run(NoPenalty())
    assert path.tail(path.cost_S) == pytest.approx(BANDIT.cost(BANDIT.optimum(0.0)), abs=0.005)


def test_linear_is_right_only_at_the_optimal_multiplier() -> None:
    for ratio in (0.5, 1.0, 2.0):
        path = run(Linear(ratio * OPTIMAL))
        assert path.tail(path.cost_S) == pytest.approx(BANDIT.cost(BANDIT.optimum(ratio * OPTIMAL)), abs=0.005)
    assert BANDIT.cost(BANDIT.optimum(2 * OPTIMAL)) < 0.1 * LIMIT


@pytest.mark.parametrize("ratio", [1.5, 2.0, 4.0])
def test_rectified_above_the_optimal_multiplier_ends_within_its_chatter_of_the_threshold(ratio: float) -> None:
    path = rectified(ratio)
    predicted = LIMIT + NOISE * norm.ppf(1 / ratio)
    assert path.tail(path.cost_S) == pytest.approx(predicted, abs=NOISE / 2)
    assert path.tail(path.value_S) == pytest.approx(BEST, rel=0.05)
    assert duty(path) == pytest.approx(1 / ratio, abs=0.1)


def test_rectified_is_feasible_with_the_margin() -> None:
    plain, held = rectified(2.0), rectified(2.0, margin_z=2.0)
    last = slice(-len(held.cost_S) // 2, None)
    assert np.mean(held.cost_S[last] < LIMIT) > 0.98
    assert np.mean(plain.cost_S[last] < LIMIT) < 0.8
    assert held.tail(held.cost_S) == pytest.approx(plain.tail(plain.cost_S) - 2 * NOISE, abs=NOISE)


def test_rectified_below_the_optimal_multiplier_ends_at_the_linear_solution_and_infeasible() -> None:
    path = rectified(0.5)
    expected = BANDIT.optimum(0.5 * OPTIMAL)
    assert np.abs(path.policy_N - expected).sum() / 2 < 0.02
    assert path.tail(path.cost_S) > 3 * LIMIT
    assert duty(path) == 1.0


def test_a_normaliser_that_follows_the_gate_parks_the_cost_above_the_threshold() -> None:
    ratio = 4.0
    multiplier = ratio * OPTIMAL
    following, constant = rectified(ratio, normaliser="weights"), rectified(ratio)
    predicted = OPTIMAL * (1 + multiplier) / (multiplier * (1 + OPTIMAL))
    assert duty(following) == pytest.approx(predicted, abs=0.08)
    assert constant.tail(constant.cost_S) < LIMIT < following.tail(following.cost_S)


@pytest.mark.parametrize("start", [0.3, 6.0])
@pytest.mark.parametrize(("rule", "lr"), [("log", 0.4), ("projected", 0.4)])
def test_the_time_average_of_the_dual_variable_is_the_optimal_multiplier(rule: str, lr: float, start: float) -> None:
    path = run(Lagrangian(start, lr=lr, rule=rule), step=1 + OPTIMAL)
    assert path.tail(path.multiplier_S) == pytest.approx(OPTIMAL, rel=0.05)
    assert path.tail(path.cost_S) == pytest.approx(LIMIT, abs=0.005)


@pytest.mark.parametrize("make", [PID, AugmentedLagrangian])
@pytest.mark.parametrize("start", [0.3, 6.0])
def test_pid_and_augmented_lagrangian_find_the_optimal_multiplier(make: type[Penalty], start: float) -> None:
    path = run(make(start), step=1 + OPTIMAL)
    assert path.tail(path.multiplier_S) == pytest.approx(OPTIMAL, rel=0.05)
    assert path.tail(path.cost_S) == pytest.approx(LIMIT, abs=0.005)
    assert path.tail(path.value_S) == pytest.approx(BEST, rel=0.02)


def test_proportional_and_derivative_terms_damp_the_swings_of_the_integral() -> None:
    swings = {}
    for gain in (0.0, 20.0):
        path = run(PID(1.0, kp=gain, ki=0.5, kd=gain), step=0.5 * (1 + OPTIMAL), steps=400, batch_size=QUIET)
        assert path.tail(path.multiplier_S) == pytest.approx(OPTIMAL, rel=0.1)
        swings[gain] = np.abs(path.cost_S[50:] - LIMIT).mean()
    assert swings[20.0] < 0.7 * swings[0.0]


def test_squared_violates_by_about_the_optimal_multiplier_over_twice_its_own() -> None:
    multiplier = 30.0
    path = run(Squared(multiplier), batch_size=QUIET)
    violation = path.tail(path.cost_S) - LIMIT
    assert violation == pytest.approx(settles(lambda v: 2 * multiplier * max(v, 0.0)), rel=0.05)
    assert violation == pytest.approx(OPTIMAL / (2 * multiplier), rel=0.15)


@pytest.mark.parametrize("ratio", [1.5, 4.0])
def test_softplus_settles_where_its_weight_is_the_price(ratio: float) -> None:
    multiplier, width = ratio * OPTIMAL, 0.02
    path = run(Softplus(multiplier, width), batch_size=QUIET)
    violation = path.tail(path.cost_S) - LIMIT
    assert violation == pytest.approx(settles(lambda v: multiplier * expit(v / width)), abs=0.002)
    assert violation == pytest.approx(-width * math.log(ratio - 1), abs=0.2 * width)  # τ log(λ* / (λ - λ*))


@pytest.mark.parametrize("ratio", [1.5, 4.0])
def test_huber_settles_where_its_weight_is_the_price(ratio: float) -> None:
    multiplier, width = ratio * OPTIMAL, 0.05
    path = run(Huber(multiplier, width), batch_size=QUIET)
    violation = path.tail(path.cost_S) - LIMIT
    assert violation == pytest.approx(settles(lambda v: multiplier * min(max(v / width, 0.0), 1.0)), abs=0.002)
    assert violation == pytest.approx(width / ratio, abs=0.1 * width)  # δ λ* / λ


def test_p3o_ends_where_the_hinge_does_and_chatters_less() -> None:
    """Large steps of several epochs: the gate that looks again stops when the violation is paid off."""
    paths = [
        run(make(2 * OPTIMAL), step=4 * (1 + 2 * OPTIMAL), steps=500, epochs=4, batch_size=QUIET)
        for make in (P3O, Rectified)
    ]
    for path in paths:
        assert path.tail(path.cost_S) == pytest.approx(LIMIT, abs=0.015)
        assert path.tail(path.value_S) == pytest.approx(BEST, rel=0.05)
    p3o, hinge = (path.cost_S[-250:].std() for path in paths)
    assert p3o < 0.5 * hinge


def test_p3o_below_the_optimal_multiplier_ends_at_the_linear_solution() -> None:
    path = run(P3O(0.5 * OPTIMAL), steps=500, epochs=2)
    assert np.abs(path.policy_N - BANDIT.optimum(0.5 * OPTIMAL)).sum() / 2 < 0.02
    assert path.tail(path.cost_S) > 3 * LIMIT


@pytest.mark.parametrize("ratio", [0.4, 4.0])
def test_adaptive_finds_a_multiplier_above_the_optimal_one_from_below_and_above(ratio: float) -> None:
    path = run(Adaptive(ratio * OPTIMAL), step=1 + 2 * OPTIMAL, steps=1200)
    assert path.tail(path.multiplier_S) == pytest.approx(2 * OPTIMAL, rel=0.2)
    assert path.multiplier_S[-600:].min() > OPTIMAL
    assert duty(path) == pytest.approx(0.5, abs=0.05)
    assert path.tail(path.cost_S) == pytest.approx(LIMIT, abs=NOISE / 2)
    assert path.tail(path.value_S) == pytest.approx(BEST, rel=0.05)


def test_switching_keeps_the_threshold_and_with_a_distance_is_feasible() -> None:
    plain, held = run(Switching(), step=1.0), run(Switching(tolerance=-2 * NOISE), step=1.0)
    assert plain.tail(plain.cost_S) == pytest.approx(LIMIT, abs=NOISE)
    assert duty(plain) == pytest.approx(OPTIMAL / (1 + OPTIMAL), abs=0.1)
    assert np.mean(held.cost_S[-500:] < LIMIT) > 0.98


@pytest.mark.parametrize("sharpness", [20.0, 50.0])
def test_log_barrier_ends_inside_short_of_the_optimum_by_about_one_over_t(sharpness: float) -> None:
    multiplier = 4 * OPTIMAL
    path = run(LogBarrier(multiplier, sharpness), step=0.5 * (1 + multiplier), batch_size=QUIET)
    assert path.cost_S[0] > LIMIT  # it starts outside, where the paper's barrier is undefined
    assert path.cost_S[-500:].max() < LIMIT
    expected = settles(lambda v: 1 / (sharpness * max(-v, 1 / (sharpness * multiplier))))
    assert path.tail(path.cost_S) - LIMIT == pytest.approx(expected, abs=0.0025)
    assert 0.8 / sharpness < BEST - path.tail(path.value_S) < 1.25 / sharpness


def test_a_sample_hinge_is_not_exact() -> None:
    hinge, exact = run(SampleHinge(2 * OPTIMAL)), rectified(2.0)
    linear = BANDIT.optimum(2 * OPTIMAL * (1 - LIMIT))
    assert np.abs(hinge.policy_N - linear).sum() / 2 < 0.02
    assert BEST - hinge.tail(hinge.value_S) > 0.15 * BEST  # pays far below the threshold too
    assert BEST - exact.tail(exact.value_S) < 0.02 * BEST
    barely = run(SampleHinge(1.05 * OPTIMAL))  # above λ*, and yet infeasible: it charges λ (1 - d)
    assert barely.tail(barely.cost_S) > 1.1 * LIMIT
