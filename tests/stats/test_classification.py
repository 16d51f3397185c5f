"""Metrics by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from csrlhf.stats.classification import (
    auroc,
    classification_metrics,
    confusion,
    expected_calibration_error,
    fit_temperature,
    metrics_of_resamples,
    rescale,
)

PROBABILITY = np.array([0.9, 0.8, 0.3, 0.6, 0.1])
UNSAFE = np.array([True, True, True, False, False])


def test_by_hand() -> None:
    # Flagged: rows 0, 1, 3. Pairs (unsafe, safe) ranked right: 2 + 2 + 1 of 6.
    metrics = classification_metrics(PROBABILITY, UNSAFE)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["precision"] == pytest.approx(2 / 3)
    assert metrics["recall"] == pytest.approx(2 / 3)
    assert metrics["specificity"] == pytest.approx(1 / 2)
    assert metrics["auroc"] == pytest.approx(5 / 6)
    assert metrics["brier"] == pytest.approx((0.01 + 0.04 + 0.49 + 0.36 + 0.01) / 5)
    # Every row in a bin of its own: the mean of |p - label|.
    assert metrics["ece"] == pytest.approx((0.1 + 0.2 + 0.7 + 0.6 + 0.1) / 5, abs=1e-6)
    assert confusion(PROBABILITY, UNSAFE) == {
        "true_positives": 2, "false_positives": 1, "true_negatives": 1, "false_negatives": 1,
    }  # fmt: skip


def test_calibration_error_averages_within_a_bin() -> None:
    # Both in (0.7, 0.8]: mean probability 0.75, share unsafe 0.5.
    assert expected_calibration_error(np.array([0.72, 0.78]), np.array([True, False])) == pytest.approx(0.25, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    score, unsafe = np.array([row[0] / 5 for row in rows]), np.array([row[1] for row in rows])
    if unsafe.all() or not unsafe.any():
        assert math.isnan(auroc(score, unsafe))
    else:
        assert auroc(score, unsafe) == pytest.approx(roc_auc_score(unsafe, score))


def test_a_ratio_over_nothing_is_nan_and_not_a_guess() -> None:
    metrics = classification_metrics(np.array([0.1, 0.2]), np.array([False, False]))
    assert math.isnan(metrics["recall"])
    assert math.isnan(metrics["precision"])
    assert metrics["accuracy"] == 1.0


def test_temperature_of_overconfident_logits() -> None:
    # Logits drawn calibrated, then made three times too sure.
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    unsafe = rng.random(20_000) < expit(logit)
    assert fit_temperature(3 * logit, unsafe) == pytest.approx(3.0, rel=0.05)


def test_temperature_of_separable_rows_is_bounded() -> None:
    assert fit_temperature(np.array([1.0, -1.0]), np.array([True, False])) == pytest.approx(0.05, rel=0.05)


def test_rescaled_probabilities_keep_their_side() -> None:
    rescaled = rescale(np.array([0.0, 0.4, 0.5, 1.0]), 2.0)
    assert rescaled[2] == pytest.approx(0.5)
    assert (np.diff(rescaled) > 0).all()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]) | st.floats(0, 1), st.booleans(), st.integers(0, 3)
        ),
        min_size=1,
        max_size=12,
    ).filter(lambda rows: any(count for *_, count in rows))
)
def test_many_resamples_at_once_have_the_metrics_of_each(rows: list[tuple[float, bool, int]]) -> None:
    probability, unsafe, count = (np.array(column) for column in zip(*rows, strict=True))
    found = metrics_of_resamples(probability, unsafe, np.stack([count, np.ones_like(count)]))
    for place, drawn in enumerate((np.repeat(np.arange(len(rows)), count), np.arange(len(rows)))):
        alone = classification_metrics(probability[drawn], unsafe[drawn])
        assert {name: values[place] for name, values in found.items()} == pytest.approx(alone, abs=1e-6, nan_ok=True)
