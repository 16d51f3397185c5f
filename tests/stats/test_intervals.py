"""Rates and means over prompts: exact where answers are independent, wider where they are not; success at k; a line."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from csrlhf.stats.intervals import fit_line, mean_interval, rate, success_at

PROMPTS = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3), min_size=2, max_size=12)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (1, 299)])
def test_one_answer_a_prompt_is_clopper_pearson(hits: int, count: int) -> None:
    found = rate([[1.0]] * hits + [[0.0]] * (count - hits), 0.95)
    exact = binomtest(hits, count).proportion_ci(0.95, "exact")
    assert found.value == hits / count
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert (found.num_prompts, found.num_answers) == (count, count)


def test_answers_that_always_agree_count_once() -> None:
    """Ten answers to a prompt that are all the same say no more than one."""
    once = rate([[1.0], [0.0], [0.0], [1.0]], 0.95)
    often = rate([[1.0] * 10, [0.0] * 10, [0.0] * 10, [1.0] * 10], 0.95)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.num_answers == 40


def test_answers_that_vary_alike_count_each_where_many_prompts_say_so() -> None:
    """Every prompt has one hit of two: the prompts' means do not vary, so all answers count, nearly."""
    found = rate([[1.0, 0.0]] * 400, 0.95)
    exact = binomtest(400, 800).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-3)
    few, all_eight = rate([[1.0, 0.0]] * 4, 0.95), binomtest(4, 8).proportion_ci(0.95, "exact")
    assert few.low < all_eight.low - 0.03  # four prompts hardly tell how prompts vary


def test_answers_to_one_prompt_are_one_observation() -> None:
    """Whatever they are: no second prompt tells how prompts differ. (Once all four counted, as independent.)"""
    found = rate([[1.0, 0.0, 0.0, 0.0]], 0.95)
    assert found.low < 0.02
    assert found.high > 0.98


def test_intervals_of_few_prompts_hold_as_often_as_they_say() -> None:
    """Prompts whose own rates differ widely, a few answers each: without the price of few prompts 89 % held."""
    draws = np.random.default_rng(0)
    kept = 0
    for _ in range(400):
        answers = draws.binomial(1, draws.beta(0.5, 0.5, size=(3, 1)), size=(3, 4)).astype(float).tolist()
        found = rate(answers, 0.95)
        kept += found.low <= 0.5 <= found.high
    assert kept >= 0.95 * 400


@settings(max_examples=60, deadline=None)
@given(prompts=PROMPTS)
def test_an_interval_lies_between_that_of_prompts_and_that_of_answers(prompts: list[list[float]]) -> None:
    found, order = rate(prompts, 0.9), rate(prompts[::-1], 0.9)
    assert order == found
    assert 0 <= found.low <= found.value <= found.high <= 1
    more = rate(prompts, 0.99)
    assert more.low <= found.low
    assert more.high >= found.high


def test_nothing_has_no_rate() -> None:
    found = rate([[], []], 0.95)
    assert math.isnan(found.value)
    assert found.metrics("a/b") == {}


def test_means_by_hand() -> None:
    found = mean_interval([[1.0, 3.0], [4.0], [6.0]], 0.95)  # prompt means 2, 4, 6: mean 4, standard error 2 / sqrt(3)
    assert found.value == 4.0
    assert found.high - found.value == pytest.approx(4.302653 * 2 / math.sqrt(3), abs=1e-5)  # t quantile, 2 freedoms
    assert math.isnan(mean_interval([[1.0]], 0.95).low)


def test_success_by_hand() -> None:
    assert success_at(0, 5, 2) == 0.0
    assert success_at(1, 4, 1) == 0.25
    assert success_at(1, 4, 2) == 0.5  # three of the six pairs hold the unsafe one
    assert success_at(2, 4, 3) == 1.0  # three of four always hold one of two


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_it_is_the_share_of_subsets_with_an_unsafe_answer(unsafe: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(unsafe)))
    subsets = [any(chosen) for chosen in combinations(unsafe, k)]
    assert success_at(sum(unsafe), len(unsafe), k) == pytest.approx(sum(subsets) / len(subsets))


def test_the_line_by_hand_and_its_error_by_the_long_way() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0, 5.0]), np.array([1.0, 2.5, 2.0, 4.5, 5.0])
    intercept, slope, stderr = fit_line(x, y)
    expected_slope, expected_intercept = np.polyfit(x, y, 1)
    assert (intercept, slope) == pytest.approx((expected_intercept, expected_slope))
    # HC3 is close to the jackknife: e_i / (1 - h_i) is the residual of the line without point i.
    away = []
    for i in range(5):
        kept = np.arange(5) != i
        line = np.polyfit(x[kept], y[kept], 1)
        away.append(y[i] - np.polyval(line, x[i]))
    design = np.column_stack([np.ones(5), x])
    inverse = np.linalg.inv(design.T @ design)
    weights = (inverse @ design.T)[0]
    assert stderr == pytest.approx(math.sqrt(sum((w * e) ** 2 for w, e in zip(weights, away, strict=True))))


def test_lengths_that_cannot_be_told_apart() -> None:
    y = np.array([1.0, 2.0, 3.0])
    assert fit_line(np.zeros(3), y) == pytest.approx((2.0, 0.0, 1 / math.sqrt(3)))
    assert all(math.isnan(value) for value in fit_line(np.ones(3), y))
    assert math.isnan(fit_line(np.array([0.0, 0.0, 1.0]), y)[2])  # one point alone carries the slope
