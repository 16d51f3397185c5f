"""Upper bounds against closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from statsmodels.stats import proportion

from csrlhf.errors import UserError
from csrlhf.stats.bounds import (
    allowed_violations,
    check_confidence,
    clopper_pearson_interval,
    clopper_pearson_lower,
    clopper_pearson_upper,
    least_count,
    mean_upper,
    student_quantile,
)


def test_no_violation_is_the_rule_of_three() -> None:
    # (1 - u)^n = 1 - confidence
    assert clopper_pearson_upper(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.5, 0.999))
def test_equals_scipys_search(count: int, share: float, confidence: float) -> None:
    violations = round(share * count)
    expected = binomtest(violations, count, alternative="less").proportion_ci(confidence, "exact").high
    assert clopper_pearson_upper(violations, count, confidence) == pytest.approx(expected, abs=1e-9)
    expected = binomtest(violations, count, alternative="greater").proportion_ci(confidence, "exact").low
    assert clopper_pearson_lower(violations, count, confidence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("violations", "count"), [(0, 59), (3, 100), (50, 1000), (7, 7)])
def test_the_interval_is_statsmodels(violations: int, count: int) -> None:
    expected = proportion.proportion_confint(violations, count, alpha=0.1, method="beta")
    assert clopper_pearson_interval(violations, count, 0.9) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.floats(0, 1), st.floats(0.5, 0.99))
def test_monotone_in_everything(count: int, share: float, confidence: float) -> None:
    violations = round(share * count)
    upper = clopper_pearson_upper(violations, count, confidence)
    assert clopper_pearson_lower(violations, count, confidence) <= violations / count <= upper
    assert clopper_pearson_upper(violations, count + 1, confidence) <= upper
    assert clopper_pearson_upper(violations, count, confidence + 0.005) >= upper
    if violations:
        assert clopper_pearson_upper(violations - 1, count, confidence) < upper


@pytest.mark.parametrize("count", [10, 60])
def test_covers_exactly_as_promised_over_all_outcomes(count: int) -> None:
    # no simulation: the probability of each count is known, so the coverage of each rate is a sum
    uppers = [clopper_pearson_upper(k, count, 0.9) for k in range(count + 1)]
    for rate in (0.001, 0.01, 0.05, 0.0999, 0.3, 0.7):
        coverage = sum(binom.pmf(k, count, rate) for k in range(count + 1) if uppers[k] >= rate)
        assert coverage >= 0.9


def test_sizes_of_the_design() -> None:
    assert least_count(0.05, 0.95) == 59
    assert least_count(0.01, 0.95) == 299
    assert allowed_violations(1000, 0.05, 0.95) == 38
    assert allowed_violations(1000, 0.01, 0.95) == 4
    assert allowed_violations(58, 0.05, 0.95) == -1
    assert allowed_violations(59, 0.05, 0.95) == 0


@pytest.mark.parametrize(
    ("violations", "count", "words"),
    [
        (5, 4, "num_violations=5 of count=4"),
        (-1, 4, "num_violations=-1"),
        (0.5, 4, "num_violations=0.5"),
        (0, -4, "count=-4"),
        (math.nan, 4, "num_violations=nan"),
        (True, "4", "count=4"),
    ],
)
def test_counts_that_are_refused(violations: int, count: int, words: str) -> None:
    for bound in (clopper_pearson_upper, clopper_pearson_lower, clopper_pearson_interval):
        with pytest.raises(UserError, match=words):
            bound(violations, count, 0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan, 95])
def test_confidences_that_are_refused(confidence: float) -> None:
    for bound in (clopper_pearson_upper, clopper_pearson_lower, clopper_pearson_interval):
        with pytest.raises(UserError, match="confidence="):
            bound(1, 10, confidence)


def test_nothing_observed_says_nothing() -> None:
    assert clopper_pearson_upper(0, 0, 0.95) == 1.0


def test_students_bound_by_hand() -> None:
    # the 95 % quantile with 3 degrees of freedom
    assert mean_upper(0.2, 0.1, 4, 0.95, is_rate=False) == pytest.approx(0.2 + 0.1 * 2.3533634)
    assert mean_upper(0.2, 0.1, 10**6, 0.95, is_rate=False) == pytest.approx(0.2 + 0.1 * 1.6448536, abs=1e-5)
    assert mean_upper(0.2, math.nan, 4, 0.95, is_rate=False) == math.inf
    assert mean_upper(0.2, 0.0, 1, 0.95, is_rate=False) == math.inf  # one answer says nothing of the spread
    assert 1.638 < student_quantile(0.9, 2.5) < 1.886  # those of 3 and 2 degrees of freedom


def test_a_rates_bound_is_exact() -> None:
    assert mean_upper(0.25, 0.2, 4, 0.95, is_rate=True) == clopper_pearson_upper(1, 4, 0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_confidence_names_its_key(confidence: float) -> None:
    with pytest.raises(UserError, match=r"evaluate\.confidence="):
        check_confidence("evaluate.confidence", confidence)
    assert check_confidence("evaluate.confidence", 0.9) == 0.9


@pytest.mark.parametrize(("threshold", "confidence"), [(0.03, 0.95), (0.05, 0.95), (0.3, 0.99), (0.001, 0.5)])
def test_least_count_is_where_the_bound_of_no_violation_meets_the_threshold(
    threshold: float, confidence: float
) -> None:
    count = int(least_count(threshold, confidence))
    assert clopper_pearson_upper(0, count, confidence) <= threshold
    assert clopper_pearson_upper(0, count - 1, confidence) > threshold


def test_least_count_by_hand() -> None:
    assert least_count(0.5, 0.8) == 3  # 0.5^2 > 0.2 > 0.5^3
    assert least_count(0.03, 0.95) == 99
    assert 1e20 < least_count(1e-20, 0.95) < 1e21  # 1 - 1e-20 is 1 in floating point
    assert least_count(0.0, 0.95) == math.inf  # no number of trials shows a rate of 0
