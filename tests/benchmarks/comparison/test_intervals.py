"""The hierarchical bootstrap: by hand at its edges, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.comparison.measures import Rate, estimate


def test_mean_over_seeds_not_over_prompts() -> None:
    assert estimate([Rate(0, 10), Rate(500, 1000)]).value == pytest.approx(0.25)


def test_prompts_alone_are_behind_one_seed() -> None:
    found = estimate([Rate(50, 100)])
    assert found.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)  # normal approximation of the binomial
    assert found.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_nothing_seen_is_not_nothing_possible() -> None:
    none, every = estimate([Rate(0, 100), Rate(0, 200)]), estimate([Rate(100, 100), Rate(200, 200)])
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 300))  # the rate at which 300 misses are as rare as 2.5 %
    assert (every.low, every.high) == (pytest.approx(1 - none.high), 1.0)
    assert estimate([0.0, 0.0]).high == 0.0  # numbers without prompts


def test_a_number_of_one_seed_has_no_width() -> None:
    found = estimate([3.5])
    assert (found.value, found.low, found.high, found.seeds) == (3.5, 3.5, 3.5, 1)


def test_seeds_that_differ_widen_what_prompts_say() -> None:
    same = estimate([Rate(500, 1000)] * 5)
    apart = estimate([Rate(100 + 200 * n, 1000) for n in range(5)])
    assert apart.high - apart.low > 3 * (same.high - same.low)


def test_two_numbers_span_from_one_to_the_other() -> None:
    found = estimate([1.0, 3.0])
    assert (found.value, found.low, found.high) == (2.0, 1.0, 3.0)


def test_seeds_without_a_figure_are_left_out_and_counted() -> None:
    assert estimate([math.nan, 2.0, Rate(0, 0)]).seeds == 1
    none = estimate([math.nan])
    assert none.seeds == 0
    assert math.isnan(none.value)


def test_it_is_the_same_every_time() -> None:
    rates = [Rate(3, 50), Rate(9, 50), Rate(1, 50)]
    assert estimate(rates) == estimate(rates)


@pytest.mark.parametrize(("spread", "least"), [(0.0, 0.9), (0.08, 0.75)])
def test_it_holds_the_truth_about_as_often_as_it_says(spread: float, least: float) -> None:
    """Ten seeds. Where seeds differ, a percentile bootstrap of ten of them holds the truth less often than 95 %."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        rates = np.clip(0.3 + spread * rng.standard_normal(10), 0, 1)
        found = estimate([Rate(int(rng.binomial(200, rate)), 200) for rate in rates], 400, seed=trial)
        held += found.low <= 0.3 <= found.high
    assert least <= held / 200
