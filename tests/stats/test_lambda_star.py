"""Estimates of λ* by hand and on problems whose λ* is known; the tail they are read from; the diagnostic's rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.errors import UserError
from csrlhf.stats.bounds import clopper_pearson_lower, clopper_pearson_upper
from csrlhf.stats.estimates import Estimate
from csrlhf.stats.lambda_star import (
    dual_tail,
    duty_cycle_estimate,
    exact_penalty,
    frontier_slope,
    slater_bound,
    stationary_tail,
    why_inert,
)


def test_frontier_slope_by_hand() -> None:
    costs, rewards = [0.0, 0.02, 0.06, 0.2], [0.0, 0.08, 0.16, 0.20]  # slopes 4, 2, 0.29
    found = frontier_slope(costs, rewards, 0.05)
    assert (found.value, found.upper) == (pytest.approx(2), pytest.approx(4))
    assert found.lower == pytest.approx(0.04 / 0.14)
    corner = frontier_slope(costs, rewards, 0.02)  # on a run: between the two slopes that meet there
    assert [corner.lower, corner.value, corner.upper] == pytest.approx([2, 3, 4])
    first = frontier_slope(costs, rewards, 0.01)
    assert (first.value, first.upper) == (pytest.approx(4), math.inf)
    last = frontier_slope(costs, rewards, 0.1)
    assert (last.lower, last.value) == (0.0, pytest.approx(0.04 / 0.14))


def test_runs_below_the_frontier_do_not_count() -> None:
    costs, rewards = [0.0, 0.02, 0.06, 0.2], [0.0, 0.08, 0.16, 0.20]
    more = frontier_slope([*costs, 0.04, 0.06], [*rewards, 0.01, 0.1], 0.05)
    assert more.value == pytest.approx(2)
    assert more.count == 6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.001, 0.3), min_size=6, max_size=20, unique=True), st.floats(0.2, 0.8), st.integers(0, 99))
def test_the_bracket_holds_the_slope_of_a_concave_frontier(costs: list[float], place: float, seed: int) -> None:
    low, high = min(costs), max(costs)
    threshold = low + place * (high - low)
    if high - low < 0.01:
        return
    order = np.random.default_rng(seed).permutation(len(costs))
    spread = np.array(costs)[order]
    found = frontier_slope(spread, np.sqrt(spread), threshold)
    true = 0.5 / math.sqrt(threshold)
    assert found.lower <= true * (1 + 1e-6)
    assert found.upper >= true * (1 - 1e-6)
    assert found.lower <= found.value <= found.upper


def test_where_more_cost_brings_nothing_lambda_star_is_zero() -> None:
    found = frontier_slope([0.0, 0.02, 0.06, 0.2, 0.3], [0.0, 0.3, 0.25, 0.0, -0.5], 0.1)
    assert (found.lower, found.value, found.upper) == (0.0, 0.0, 0.0)


def test_frontier_refuses() -> None:
    with pytest.raises(UserError, match="add a larger λ"):
        frontier_slope([0.1, 0.2], [1, 2], 0.05)
    with pytest.raises(UserError, match="add a smaller λ"):
        frontier_slope([0.01, 0.02], [1, 2], 0.05)
    with pytest.raises(UserError, match="same runs"):
        frontier_slope([0.01, 0.2], [1], 0.05)
    with pytest.raises(UserError, match=r"rewards\[1\]=nan"):
        frontier_slope([0.01, 0.2], [1, math.nan], 0.05)


def test_duty_cycle_by_hand() -> None:
    # after a way there with the gate open, every fifth iteration: chatter is worth no fewer iterations
    gates = [True] * 30 + [step % 5 == 0 for step in range(90)]
    found = duty_cycle_estimate(8.0, gates, gate="leave_one_out")
    assert found.value == pytest.approx(8 * 0.2)
    assert found.count == 40
    assert found.lower == pytest.approx(8 * clopper_pearson_lower(8, 40, 0.95))
    assert found.upper == pytest.approx(8 * clopper_pearson_upper(8, 40, 0.95))


def test_a_gate_that_saw_its_own_batch_bounds_from_below_alone() -> None:
    """Its mean weight falls short of λ* (benchmarks.gates): what was called an interval held λ* in no run of 200."""
    gates = [step % 2 == 0 for step in range(300)]
    own, others = (duty_cycle_estimate(4.0, gates, gate=gate) for gate in ("batch", "leave_one_out"))
    assert own.upper == math.inf
    assert (own.value, own.lower) == (others.value, others.lower)
    assert "a lower bound: the gate saw its own batch" in own.method
    tail = dual_tail([1.0 + 0.01 * (step % 3) for step in range(60)])
    assert exact_penalty(8.0, [own, tail], 0.5, True).upper == pytest.approx(max(tail.upper, own.lower))
    assert "bounded from above in 1 way" in exact_penalty(8.0, [own, tail], 0.5, True).reasons[0]
    assert exact_penalty(8.0, [others, tail], 0.5, True).passed


def test_gates_that_stick_are_worth_fewer_iterations() -> None:
    sticking = [step // 12 % 2 == 0 for step in range(300)]
    chatter = [step % 2 == 0 for step in range(300)]
    stuck, free = (duty_cycle_estimate(4.0, gates, gate="previous") for gates in (sticking, chatter))
    assert stuck.count < free.count == 100
    assert stuck.upper > free.upper


def test_always_and_never_open() -> None:
    always = duty_cycle_estimate(2.0, [True] * 60, gate="previous")
    assert (always.value, always.upper) == (2.0, math.inf)
    never = duty_cycle_estimate(2.0, [False] * 60, gate="previous")
    assert (never.value, never.lower) == (0.0, 0.0)
    assert never.upper == pytest.approx(2 * clopper_pearson_upper(0, 20, 0.95))


def test_duty_cycle_refuses() -> None:
    with pytest.raises(UserError, match=r"penalty\.normaliser=weights"):
        duty_cycle_estimate(8.0, [True] * 60, normaliser="weights")
    with pytest.raises(UserError, match="multiplier=0"):
        duty_cycle_estimate(0.0, [True] * 60)
    with pytest.raises(UserError, match=r"gates\[0\]=nan"):
        duty_cycle_estimate(8.0, [math.nan] * 60)
    with pytest.raises(UserError, match="36 are needed"):
        duty_cycle_estimate(8.0, [True] * 35)


def test_dual_tail_on_noise_around_lambda_star() -> None:
    # a wave of whole periods in every batch: batch means are all λ*
    values = 1.5 + 0.3 * np.sin(np.arange(300) * 2 * math.pi / 10)
    found = dual_tail(np.concatenate([np.linspace(9, 1.5, 60), values]))
    assert found.value == pytest.approx(1.5, abs=1e-9)
    assert found.lower <= 1.5 <= found.upper <= 1.51


def test_a_dual_that_still_falls_says_so() -> None:
    falling = 1 + 4 * np.exp(-np.arange(120) / 60)
    found = dual_tail(falling)
    assert "drifting by -" in found.method
    assert found.lower < falling[-1]  # it goes on the way it goes
    assert found.upper >= falling[100]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=36, max_size=120), st.floats(0.5, 4))
def test_dual_tail_scales(values: list[float], factor: float) -> None:
    found, scaled = dual_tail(values), dual_tail(np.array(values) * factor)
    assert found.lower <= found.value <= found.upper
    assert scaled.value == pytest.approx(found.value * factor, rel=1e-6, abs=1e-9)


def test_the_tail_begins_after_what_drifts() -> None:
    rng = np.random.default_rng(2)
    late = stationary_tail(rng.normal(size=300))
    assert (late.start, len(late.values), late.drifting) == (200, 100, False)
    # still falling at 200, flat from 240 on
    broken = np.concatenate([np.linspace(50, 0, 240), np.zeros(60)]) + 0.1 * rng.normal(size=300)
    found = stationary_tail(broken)
    assert (found.start, found.drifting) == (250, False)
    assert abs(found.mean) < 0.1
    moving = stationary_tail(np.arange(300.0))
    assert moving.drifting
    assert moving.drift == pytest.approx(5 * 50 / 6, rel=0.1)


def test_a_constant_does_not_drift() -> None:
    found = stationary_tail([0.3] * 90)
    assert not found.drifting
    assert (found.mean, found.stderr, found.count) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12), 30)


def test_slater_by_hand() -> None:
    found = slater_bound(best_reward=3.0, feasible_reward=1.0, feasible_cost=0.01, threshold=0.05)
    assert found.upper == pytest.approx(50)
    assert found.lower == 0.0
    with pytest.raises(UserError, match="room to spare"):
        slater_bound(3.0, 1.0, 0.05, 0.05)
    with pytest.raises(UserError, match="best_reward=inf"):
        slater_bound(math.inf, 1.0, 0.01, 0.05)


DUTY = Estimate(1.6, 1.2, 2.0, "duty cycle from iteration 200", 100)
TAIL = Estimate(1.5, 1.4, 1.6, "dual tail from iteration 80", 40)


def test_the_rule() -> None:
    found = exact_penalty(4.0, [DUTY, TAIL], duty=0.4, certified=True, suboptimality=0.1, reward_span=6.0)
    assert found.passed
    assert found.reasons == ()
    assert found.upper == 2.0
    assert found.epsilon == pytest.approx(0.1 / 2)
    assert found.crude == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multiplier": 2.3}, "λ = 2.3 is below 1.2 λ"),
        ({"duty": 0.9}, "open in 0.9"),
        ({"duty": None}, "not known"),
        ({"certified": False}, "not certified"),
        ({"estimates": [DUTY]}, "in 1 way; two"),
        ({"estimates": [DUTY, DUTY]}, "in 1 way; two"),
        ({"estimates": []}, "in 0 ways"),
    ],
)
def test_each_part_of_the_rule_can_fail(changes: dict, words: str) -> None:
    arguments = {"multiplier": 4.0, "estimates": [DUTY, TAIL], "duty": 0.4, "certified": True}
    found = exact_penalty(**(arguments | changes))
    assert not found.passed
    assert any(words in reason for reason in found.reasons)


def test_two_runs_of_one_method_are_both_kept() -> None:
    found = exact_penalty(4.0, [DUTY, TAIL, TAIL], 0.4, True)
    assert list(found.estimates) == [DUTY.method, TAIL.method, f"{TAIL.method} (2)"]


def test_exactly_at_the_margin_passes() -> None:
    assert exact_penalty(1.2 * 2.0, [DUTY, TAIL], 0.4, True).passed


def test_epsilon_is_infinite_up_to_lambda_star() -> None:
    found = exact_penalty(1.9, [DUTY, TAIL], 0.4, True, suboptimality=0.1)
    assert found.epsilon == math.inf
    assert exact_penalty(4.0, [DUTY, TAIL], 0.4, True).epsilon is None


def test_the_slater_bound_helps_only_where_it_is_smaller() -> None:
    open_end = Estimate(4.0, 3.9, math.inf, "frontier slope at d", 5)
    slater = slater_bound(3.0, 1.0, 0.01, 0.05)
    assert exact_penalty(70.0, [open_end, slater], 0.4, True).upper == pytest.approx(50)
    assert exact_penalty(70.0, [DUTY, slater], 0.4, True).upper == 2.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multiplier": 0.0}, "multiplier=0"),
        ({"multiplier": math.nan}, "multiplier=nan"),
        ({"duty": 1.2}, "duty=1.2"),
        ({"suboptimality": -1.0}, "suboptimality=-1.0"),
        ({"reward_span": math.inf}, "reward_span=inf"),
    ],
)
def test_diagnostic_refuses(changes: dict, words: str) -> None:
    arguments = {"multiplier": 4.0, "estimates": [DUTY, TAIL], "duty": 0.4, "certified": True}
    with pytest.raises(UserError, match=words):
        exact_penalty(**(arguments | changes))


def test_noise_rarely_counts_as_a_drift() -> None:
    rng = np.random.default_rng(0)
    starts = [stationary_tail(rng.normal(size=120)).start for _ in range(300)]
    assert 0.9 <= np.mean(np.array(starts) == 80) < 1.0


def test_a_run_whose_multiplier_had_no_effect_tells_nothing() -> None:
    assert why_inert("GAE", "none", [0.0] * 60) is None
    assert why_inert("RLOO", None, []) is None
    assert "advantage.normalise=group" in (why_inert("GroupNorm", None, []) or "")  # before it had a choice
    assert "advantage.normalise=group" in (why_inert("GroupNorm", "group", []) or "")
    assert "units of σ_r / σ_c" in (why_inert("GroupNorm", "per_channel", []) or "")
    assert why_inert("GroupNorm", "reward", []) is why_inert("GroupNorm", "none", []) is None
    assert "advantage.normalise=whiten" in (why_inert("GAE", "whiten", []) or "")
    early, late = [1.0] * 40 + [0.0] * 20, [0.0] * 40 + [0.75] * 20
    assert why_inert("GAE", "none", early) is None
    assert "active in 75 % of the late steps" in (why_inert("GAE", "none", late) or "")
