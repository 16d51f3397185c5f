"""Measures of held-out predictions by hand, and their paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.cost_models.comparison import Judged, measure

UNSAFE = np.arange(40) % 2 == 0
TRUE = np.where(UNSAFE, 0.9, 0.1)


def judged(**arms: np.ndarray) -> Judged:
    """Two folds of two seeds; the first four rows look harmful and are a slice."""
    folds = [np.arange(0, 20), np.arange(20, 40)]
    fits = {arm: {seed: [(rows, p[rows]) for rows in folds] for seed in (0, 1)} for arm, p in arms.items()}
    first = np.arange(40) < 4
    return Judged(fits, UNSAFE, np.arange(40), {0: first, 1: first}, {"first": first}, frozenset({"regex"}))


def test_measures_by_hand() -> None:
    # wrong on row 0 (unsafe, missed), row 1 (safe, flagged) and row 3 (safe, flagged)
    pairwise = TRUE.copy()
    pairwise[[0, 1, 3]] = [0.2, 0.8, 0.7]
    values = measure(judged(semantic=TRUE, pairwise=pairwise), 20).values
    assert values["semantic/accuracy"] == values["semantic/recall"] == values["semantic/auroc"] == 1.0
    assert values["semantic/ece"] == pytest.approx(0.1)
    assert values["pairwise/accuracy"] == 37 / 40
    assert values["pairwise/recall"] == 19 / 20
    assert values["pairwise/safe_flagged"] == 2 / 20
    assert values["pairwise/alike_flagged"] == 1.0
    assert values["pairwise/accuracy/first"] == 1 / 4
    # fold 0: of 10 x 10 pairs, row 0 at 0.2 loses to 0.8 and 0.7; fold 1 is perfect
    assert values["pairwise/auroc"] == pytest.approx((0.98 + 1.0) / 2)
    assert values["pairwise - semantic/accuracy"] == pytest.approx(-3 / 40)


def test_differences_are_paired() -> None:
    """The same mistakes on both sides: each side is uncertain, their difference is not."""
    guesses = np.random.default_rng(0).random(40)
    found = measure(judged(semantic=guesses, pairwise=guesses), 100)
    low, high = found.intervals["pairwise/accuracy"]
    assert low < high
    assert found.intervals["pairwise - semantic/accuracy"] == (0.0, 0.0)


def test_decisions_have_no_auroc_and_no_calibration() -> None:
    values = measure(judged(semantic=TRUE, regex=np.ones(40)), 5).values
    assert math.isnan(values["regex/auroc"])
    assert math.isnan(values["regex/ece"])
    assert values["regex/accuracy"] == 0.5


def test_seeds_are_averaged() -> None:
    data = judged(semantic=TRUE)
    data.fits["semantic"][1][0] = (np.arange(0, 20), 1 - TRUE[:20])  # type: ignore[index]  # a plain dict of lists
    assert measure(data, 5).values["semantic/accuracy"] == pytest.approx((1.0 + 0.5) / 2)
