"""Bounds on means by hand, against each other, and under what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from csrlhf.errors import UserError
from csrlhf.stats.bounds import (
    BETS,
    betting_upper,
    clopper_pearson_upper,
    empirical_bernstein_upper,
    hoeffding_upper,
    student_upper,
)

BOUNDED = [hoeffding_upper, empirical_bernstein_upper, betting_upper]
samples = st.lists(st.floats(0, 1), min_size=2, max_size=60)
levels = st.floats(0.5, 0.999)


def test_hoeffding_by_hand() -> None:
    # mean 1/4; sqrt(ln 20 / 16)
    assert hoeffding_upper([0, 0, 0, 1, 0, 0, 0, 1], 0.95) == pytest.approx(0.25 + math.sqrt(math.log(20) / 16))
    assert hoeffding_upper([-1.0] * 200, 0.95, low=-1, high=1) == pytest.approx(-1 + 2 * math.sqrt(math.log(20) / 400))


def test_empirical_bernstein_by_hand() -> None:
    values = [0.0] * 96 + [1.0] * 4
    variance = 0.04 * 0.96 * 100 / 99
    log_term = math.log(40)
    expected = 0.04 + math.sqrt(2 * variance * log_term / 100) + 7 * log_term / (3 * 99)
    assert empirical_bernstein_upper(values, 0.95) == pytest.approx(expected)
    assert empirical_bernstein_upper([0.5], 0.95) == 1.0  # one value has no variance


def test_betting_is_where_the_capital_reaches_one_over_delta() -> None:
    values = np.array([0.0, 0.1, 0.0, 0.3, 0.0, 0.0, 0.7, 0.0, 0.0, 0.0])
    mean = betting_upper(values, 0.9)
    capital = np.mean([np.prod(1 - bet * (values - mean) / (1 - mean)) for bet in BETS])
    assert capital == pytest.approx(10, rel=1e-6)


def test_betting_on_zeros_by_hand() -> None:
    # nothing but zeros: mean_b (1 + b m / (1 - m))^n = 1/δ
    mean = betting_upper(np.zeros(50), 0.95)
    assert np.mean((1 + BETS * mean / (1 - mean)) ** 50) == pytest.approx(20, rel=1e-5)
    assert mean > clopper_pearson_upper(0, 50, 0.95)  # a bound for every distribution pays for it


def test_nothing_but_the_worst_is_the_worst() -> None:
    for bound in BOUNDED:
        assert bound([1.0, 1.0, 1.0], 0.95) == 1.0


def test_student_is_scipys() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    expected = ttest_1samp(values, 0, alternative="less").confidence_interval(0.9).high
    assert student_upper(values, 0.9) == pytest.approx(expected)
    assert student_upper([0.3], 0.9) == math.inf


@pytest.mark.parametrize("bound", BOUNDED)
@settings(max_examples=40, deadline=None)
@given(values=samples, confidence=levels)
def test_between_the_mean_and_the_largest_value_possible(bound, values: list[float], confidence: float) -> None:
    assert np.mean(values) - 1e-9 <= bound(values, confidence) <= 1.0


@pytest.mark.parametrize("bound", BOUNDED)
@settings(max_examples=40, deadline=None)
@given(values=samples, pair=st.tuples(levels, levels))
def test_grows_with_confidence(bound, values: list[float], pair: tuple[float, float]) -> None:
    assert bound(values, min(pair)) <= bound(values, max(pair)) + 1e-9


@pytest.mark.parametrize("bound", [hoeffding_upper, betting_upper])
@settings(max_examples=40, deadline=None)
@given(values=samples, place=st.integers(0, 1000), more=st.floats(0, 1))
def test_grows_with_every_cost(bound, values: list[float], place: int, more: float) -> None:
    larger = list(values)
    larger[place % len(values)] = max(larger[place % len(values)], more)
    assert bound(values, 0.95) <= bound(larger, 0.95) + 1e-8


@pytest.mark.parametrize("bound", BOUNDED)
@settings(max_examples=40, deadline=None)
@given(values=samples, seed=st.integers(0, 100))
def test_neither_order_nor_scale_matters(bound, values: list[float], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(values)
    assert bound(shuffled, 0.95) == pytest.approx(bound(values, 0.95), abs=1e-8)
    scaled = bound(10 * np.asarray(values) - 4, 0.95, low=-4, high=6)
    assert scaled == pytest.approx(10 * bound(values, 0.95) - 4, abs=1e-6)


@pytest.mark.parametrize("bound", BOUNDED)
def test_ten_times_the_same_sample_is_tighter(bound) -> None:
    values = np.random.default_rng(0).beta(0.1, 1.9, 100)
    assert bound(np.tile(values, 10), 0.95) < bound(values, 0.95)


def test_betting_is_the_tightest_for_rare_costs() -> None:
    values = np.random.default_rng(0).beta(0.1, 1.9, 300)
    betting, bernstein = betting_upper(values, 0.95), empirical_bernstein_upper(values, 0.95)
    assert betting < bernstein < hoeffding_upper(values, 0.95)


@pytest.mark.parametrize("bound", BOUNDED)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "values is empty"),
        ([0.1, math.nan], r"values\[1\]=nan"),
        ([0.1, 1.5], r"values\[1\]=1\.5 lies outside \[0, 1\]"),
        ([-0.1], r"values\[0\]=-0\.1 lies outside"),
        ([[0.1]], "1 dimensions are needed"),
    ],
)
def test_values_that_are_refused(bound, values: list, words: str) -> None:
    with pytest.raises(UserError, match=words):
        bound(values, 0.95)


@pytest.mark.parametrize("bound", [*BOUNDED, student_upper])
def test_confidences_that_are_refused(bound) -> None:
    for confidence in (0.0, 1.0, math.nan, -1.0, 95.0):
        with pytest.raises(UserError, match="confidence="):
            bound([0.1, 0.2], confidence)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (0.0, math.inf), (0.0, 0.0)])
def test_ranges_that_are_refused(low: float, high: float) -> None:
    with pytest.raises(UserError, match="two finite ends"):
        betting_upper([0.0], 0.95, low, high)
