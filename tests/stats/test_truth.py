"""What is said of the truth behind a cost model that errs: audit, Rogan-Gladen, prediction-powered inference."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.errors import UserError
from csrlhf.stats.bounds import betting_upper, clopper_pearson_lower, clopper_pearson_upper
from csrlhf.stats.truth import (
    LEAST_POSITIVES,
    audit_unsafe,
    audit_unsafe_given_accepted,
    prediction_powered,
    prediction_powered_exact,
    rogan_gladen,
)


def test_an_audit_is_clopper_pearson() -> None:
    found = audit_unsafe_given_accepted(2, 200, 0.95)
    assert (found.value, found.count) == (0.01, 200)
    assert found.lower == clopper_pearson_lower(2, 200, 0.95)
    assert found.upper == clopper_pearson_upper(2, 200, 0.95)
    nothing = audit_unsafe(0, 0, 0.95)
    assert math.isnan(nothing.value)
    assert (nothing.lower, nothing.upper) == (0.0, 1.0)
    with pytest.raises(UserError, match="larger than the whole"):
        audit_unsafe(3, 2, 0.95)


def test_rogan_gladen_by_hand() -> None:
    # q = 0.06, Se = 0.9, f = 0.02: θ = 0.04 / 0.88
    found = rogan_gladen(120, 2000, 180, 200, 20, 1000, 0.95)
    each = 1 - 0.05 / 3
    rate, hit, false = (
        clopper_pearson_upper(120, 2000, each),
        clopper_pearson_lower(180, 200, each),
        clopper_pearson_lower(20, 1000, each),
    )
    assert found.value == pytest.approx(0.04 / 0.88)
    assert found.upper == pytest.approx((rate - false) / (hit - false))
    assert found.lower < found.value < found.upper


def test_rogan_gladen_knows_nothing_of_a_coin() -> None:
    assert rogan_gladen(10, 1000, 50, 100, 50, 100, 0.95).upper == 1.0  # sensitivity and false flags alike
    assert rogan_gladen(10, 1000, 0, 0, 0, 0, 0.95).upper == 1.0  # no audit
    assert rogan_gladen(1, 1000, 90, 100, 300, 1000, 0.95).upper == 1.0  # fewer flags than false ones alone would be
    assert rogan_gladen(900, 1000, 80, 100, 1, 100, 0.95).upper == 1.0  # more flags than the sensitivity allows


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(1, 60), st.data())
def test_rogan_gladen_is_monotone_in_its_counts(flagged: int, positives: int, data: st.DataObject) -> None:
    caught = data.draw(st.integers(1, positives))
    found = rogan_gladen(flagged, 400, caught, positives, 0, 200, 0.9)
    assert 0 <= found.lower <= found.value <= found.upper <= 1
    assert rogan_gladen(flagged + 1, 400, caught, positives, 0, 200, 0.9).upper >= found.upper
    assert rogan_gladen(flagged, 400, caught - 1, positives, 0, 200, 0.9).upper >= found.upper
    assert rogan_gladen(flagged, 400, caught, positives, 0, 200, 0.99).upper >= found.upper


def test_rogan_gladen_refuses_counts_that_contradict_each_other() -> None:
    for counts in ((11, 10, 1, 2, 0, 5), (1, 10, 3, 2, 0, 5), (1, 10, 1, 2, 6, 5)):
        with pytest.raises(UserError, match="larger than the whole"):
            rogan_gladen(*counts, confidence=0.95)


def sample(seed: int, labelled: int, others: int, rate: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    unsafe = rng.random(labelled + others) < rate
    score = np.clip(0.7 * unsafe + 0.2 * rng.random(labelled + others), 0, 1)
    return unsafe[:labelled].astype(float), score[:labelled], score[labelled:]


def test_prediction_powered_is_the_formula_of_the_paper() -> None:
    label, known, rest = sample(0, 300, 3000)
    found = prediction_powered(label, known, rest, 0.95)
    # the optimal λ by hand: cov(y, f) / ((1 + n/N) var(f)), variances over all predictions
    tuned = np.cov(label, known, ddof=0)[0, 1] / ((1 + 300 / 3000) * np.var(np.concatenate([known, rest]), ddof=0))
    by_hand = tuned * rest.mean() + (label - tuned * known).mean()
    error = math.sqrt((tuned * rest).var() / 3000 + (label - tuned * known).var() / 300)
    assert found.value == pytest.approx(by_hand, abs=4e-3)
    assert found.upper == pytest.approx(by_hand + 1.6449 * error, abs=4e-3)
    assert found.lower == pytest.approx(by_hand - 1.6449 * error, abs=4e-3)
    assert found.upper < audit_unsafe(int(label.sum()), 300, 0.95).upper  # what the predictions are for
    assert "approximate" in found.method


def test_prediction_powered_falls_back_on_few_positives() -> None:
    label, known, rest = sample(1, 60, 500)
    positives = int(label.sum())
    assert positives < LEAST_POSITIVES
    found = prediction_powered(label, known, rest, 0.95)
    assert found.upper == clopper_pearson_upper(positives, 60, 0.95)
    assert f"{positives} of 60" in found.method
    everything = prediction_powered(np.ones(30), np.ones(30), np.ones(50), 0.95)
    assert everything.upper == 1.0
    silent = prediction_powered([1] * 30 + [0] * 70, np.zeros(100), np.zeros(500), 0.95)
    assert silent.upper == clopper_pearson_upper(30, 100, 0.95)
    assert "all predictions are the same" in silent.method


def test_prediction_powered_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ppi_py":
            raise ImportError("No module named 'ppi_py'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'csrlhf\[certify\]'"):
        prediction_powered(*sample(0, 300, 3000), 0.95)


def test_the_exact_one_adds_two_bounds() -> None:
    label, known, rest = sample(2, 200, 2000)
    found = prediction_powered_exact(label, known, rest, 0.95)
    expected = betting_upper(rest, 0.975) + betting_upper(label - known, 0.975, -1, 1)
    assert found.upper == pytest.approx(expected)
    assert found.lower < label.mean() < found.upper
    assert prediction_powered_exact(label, known, rest, 0.99).upper > found.upper


@pytest.mark.parametrize("powered", [prediction_powered, prediction_powered_exact])
def test_powered_refuses(powered) -> None:
    with pytest.raises(UserError, match="same responses"):
        powered([1, 0], [0.5], [0.5], 0.95)
    with pytest.raises(UserError, match=r"predictions_labelled\[1\]=2 lies outside"):
        powered([1, 0], [0.5, 2.0], [0.5], 0.95)
    with pytest.raises(UserError, match="only true and false"):
        powered([1, 0.5], [0.5, 0.5], [0.5], 0.95)
    with pytest.raises(UserError, match="predictions_all is empty"):
        powered([1, 0], [0.5, 0.5], [], 0.95)
    with pytest.raises(UserError, match="confidence="):
        powered([1, 0], [0.5, 0.5], [0.5], 1.5)
