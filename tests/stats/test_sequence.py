"""Policies that are tested one after the other: how often the last that passes is not what is said of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from csrlhf.stats.bounds import clopper_pearson_upper
from csrlhf.stats.sequence import last_passed


@pytest.mark.parametrize(
    ("excesses", "expected"),
    [
        ([-0.2], (0, -0.2)),
        ([0.2], (0, 0.2)),
        ([-0.2, -0.1, -0.3], (2, -0.1)),
        ([-0.2, -0.1, 0.3, -0.5], (1, 0.0)),
        ([0.1, -0.9], (0, 0.1)),
    ],
)
def test_by_hand(excesses: list[float], expected: tuple[int, float]) -> None:
    assert last_passed(excesses) == expected


def test_nothing_to_test_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to test"):
        last_passed([])


RATES = (0.01, 0.025, 0.029, 0.0301, 0.032, 0.05)
COUNT, D, CONFIDENCE = 209, 0.03, 0.95


def error(rates: tuple[float, ...]) -> float:
    """P(the policy that is handed over is above the bound that is stated), exactly, for independent responses."""
    top = 30  # hits beyond it have no share to speak of
    chances = [binom.pmf(np.arange(top), COUNT, rate) for rate in rates]
    uppers = [clopper_pearson_upper(k, COUNT, CONFIDENCE) - D for k in range(top)]
    wrong = 0.0
    for hits in itertools.product(range(top), repeat=len(rates)):
        place, bound = last_passed([uppers[k] for k in hits])
        if rates[place] - D > bound:
            wrong += float(np.prod([chance[k] for chance, k in zip(chances, hits, strict=True)]))
    return wrong


@pytest.mark.parametrize("rates", list(itertools.permutations(RATES, 2)))
def test_the_statement_errs_as_seldom_as_promised(rates: tuple[float, float]) -> None:
    assert error(rates) <= 1 - CONFIDENCE + 1e-9


def test_of_three_it_holds_too_and_testing_on_after_a_failure_would_not() -> None:
    for rates in ((0.0301, 0.0301, 0.0301), (0.029, 0.0301, 0.032), (0.032, 0.029, 0.0301)):
        assert error(rates) <= 1 - CONFIDENCE + 1e-9
    # Negative control: the best of three, whichever passes.
    passes = binom.cdf(max(k for k in range(30) if clopper_pearson_upper(k, COUNT, CONFIDENCE) <= D), COUNT, 0.0301)
    assert 1 - (1 - passes) ** 3 > 0.1
