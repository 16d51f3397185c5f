"""Bins and threshold curves, worked out by hand and against the metrics they explain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.stats.classification import (
    MAX_POINTS,
    decision_metrics,
    expected_calibration_error,
    reliability_bins,
    threshold_curve,
)


def test_bins_by_hand() -> None:
    low, high = reliability_bins(np.array([0.02, 0.06, 0.95, 1.0]), np.array([False, True, True, True]))
    assert (low.low, low.high, low.count, low.unsafe) == (0.0, 0.1, 2, 0.5)
    assert low.probability == pytest.approx(0.04)
    assert (high.high, high.count, high.unsafe) == (1.0, 2, 1.0)
    # Wilson, 1 of 2: centre 1/2, reach z / sqrt(z^2 + n) / 2 with z = 1.96
    reach = 1.959964 / math.sqrt(1.959964**2 + 2) / 2
    assert (low.unsafe_low, low.unsafe_high) == (pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))


@given(st.integers(0, 10_000), st.integers(1, 200))
def test_bins_make_up_the_calibration_error(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probability, unsafe = rng.random(count), rng.random(count) < 0.5
    bins = reliability_bins(probability, unsafe)
    assert sum(part.count for part in bins) == count
    error = sum(part.count * abs(part.probability - part.unsafe) for part in bins) / count
    assert error == pytest.approx(expected_calibration_error(probability, unsafe), abs=1e-6)


def test_curve_by_hand() -> None:
    # safe at -1 and 1, unsafe at 0.5 and 2
    curve = threshold_curve(np.array([-1.0, 1.0, 0.5, 2.0]), np.array([False, False, True, True]))
    assert curve.tau_M.tolist() == [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]
    assert curve.recall_M.tolist() == [1.0, 1.0, 1.0, 0.5, 0.5, 0.0]
    assert curve.false_positive_rate_M.tolist() == [1.0, 0.5, 0.5, 0.5, 0.0, 0.0]
    assert curve.precision_M[:5].tolist() == [0.5, 2 / 3, 2 / 3, 0.5, 1.0]
    assert math.isnan(curve.precision_M[5])
    assert curve.at(0.7) == {"recall": 0.5, "false_positive_rate": 0.5, "precision": 0.5}


@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_the_curve_is_what_a_threshold_decides(seed: int, tau: float) -> None:
    rng = np.random.default_rng(seed)
    logit, unsafe = rng.normal(size=60), np.arange(60) % 2 == 0
    found, decided = threshold_curve(logit, unsafe).at(tau), decision_metrics((logit > tau).astype(float), unsafe)
    assert found["recall"] == decided["recall"]
    assert found["false_positive_rate"] == pytest.approx(1 - decided["specificity"])
    assert found["precision"] == pytest.approx(decided["precision"], nan_ok=True)


def test_a_long_curve_is_thinned_and_keeps_both_ends_and_zero() -> None:
    logit = np.linspace(-4, 4, 10_001) + 1e-5
    curve = threshold_curve(logit, logit > 0)
    assert len(curve.tau_M) == MAX_POINTS + 2
    assert 0.0 in curve.tau_M
    assert (curve.recall_M[0], curve.false_positive_rate_M[-1]) == (1.0, 0.0)
    assert curve.at(0.0)["recall"] == curve.at(0.0)["precision"] == 1.0


def test_one_class_alone_has_no_rate_of_the_other() -> None:
    curve = threshold_curve(np.array([-1.0, 1.0]), np.array([True, True]))
    assert np.isnan(curve.false_positive_rate_M).all()
    assert curve.at(0.0)["recall"] == 0.5
