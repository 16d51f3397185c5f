"""The bounds on the mean of the worst costs: by hand, how often they hold, and that they say something."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta

from csrlhf.errors import UserError
from csrlhf.stats.tail_mean import tail_mean_estimate, tail_ranks

Draw = Callable[[np.random.Generator, int], np.ndarray]

WORLDS: dict[str, Draw] = {
    "skewed": lambda rng, count: rng.beta(0.1, 1.9, count),
    "zeros and ones": lambda rng, count: (rng.random(count) < 0.03).astype(float),
    "rare high costs": lambda rng, count: np.where(
        rng.random(count) < 0.01, rng.beta(20, 1, count), rng.beta(0.3, 30, count)
    ),
    "uniform": lambda rng, count: rng.random(count),
}


def true_tail(draw: Draw, alpha: float) -> float:
    cost_N = np.sort(draw(np.random.default_rng(99), 2_000_000))
    return float(cost_N[int(alpha * len(cost_N)) :].mean())


def test_the_value_by_hand() -> None:
    costs = [0.4, 0.0, 0.8, 0.2]
    assert tail_mean_estimate(costs, 0.5, 0.9).value == pytest.approx(0.6)
    assert tail_mean_estimate(costs, 0.6, 0.9).value == pytest.approx((0.15 * 0.4 + 0.25 * 0.8) / 0.4)
    assert tail_mean_estimate(costs, 0.0, 0.9).value == pytest.approx(0.35)


def test_the_bounds_by_hand() -> None:
    """Two costs, half of the mass: ranks 1 and 2, δ = 0.2 shared, the mass above them Beta(1, 2) and Beta(2, 1)."""
    assert tail_ranks(2, 0.5).tolist() == [1, 2]
    found = tail_mean_estimate([0.3, 0.6], 0.5, 0.8)
    most_1, least_1, least_2 = beta.ppf(0.9, 1, 2), beta.ppf(0.1, 1, 2), beta.ppf(0.1, 2, 1)
    assert most_1 == pytest.approx(1 - math.sqrt(0.1))
    assert most_1 > 0.5  # the whole tail may lie above the largest cost
    assert found.upper == 1.0
    assert found.lower == pytest.approx((least_1 * 0.6 + (least_2 - least_1) * 0.3) / 0.5)


def test_ranks_are_known_before_the_costs_and_cover_the_tail() -> None:
    for count, tail in ((1, 0.5), (7, 0.1), (500, 0.1), (2000, 0.05), (300, 1.0)):
        ranks = tail_ranks(count, tail)
        assert ranks[0] == 1
        assert (np.diff(ranks) >= 1).all()
        assert ranks[-1] == min(count, math.ceil(count * tail + 3 * math.sqrt(count * tail)) + 1)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("alpha", [0.9, 0.5])
def test_both_bounds_hold(name: str, alpha: float) -> None:
    """At nominal 90 %, over 600 samples: an exact bound is not below it by more than chance."""
    truth, rng = true_tail(WORLDS[name], alpha), np.random.default_rng(0)
    found = [tail_mean_estimate(WORLDS[name](rng, 300).tolist(), alpha, 0.9) for _ in range(600)]
    assert np.mean([one.upper >= truth for one in found]) >= 0.9
    assert np.mean([one.lower <= truth for one in found]) >= 0.9


@pytest.mark.parametrize(("name", "count", "bound"), [("rare high costs", 1000, 0.3), ("skewed", 1000, 0.53)])
def test_the_upper_bound_is_not_vacuous(name: str, count: int, bound: float) -> None:
    """The uniform band gave 0.52 and 0.68 here, and a truth of 0.14 and 0.38 could be held against no useful d."""
    rng, tail = np.random.default_rng(1), 0.1
    found = np.median([tail_mean_estimate(WORLDS[name](rng, count).tolist(), 0.9, 0.95).upper for _ in range(20)])
    uniform = math.sqrt(math.log(20) / (2 * count)) / tail  # the least that the uniform band can give, of costs all 0
    assert true_tail(WORLDS[name], 0.9) < found < bound
    assert tail_mean_estimate([0.0] * count, 0.9, 0.95).upper < 0.25 * uniform


def test_the_bounds_close_in() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = (tail_mean_estimate(rng.random(count).tolist(), 0.5, 0.95) for count in (200, 20000))
    assert narrow.upper - narrow.lower < 0.2 * (wide.upper - wide.lower)


@pytest.mark.parametrize(
    ("alpha", "confidence", "match"), [(0.5, 1.0, r"certify\.confidence="), (1.0, 0.9, "alpha=1"), (-0.1, 0.9, "alpha")]
)
def test_what_is_out_of_range_names_its_key(alpha: float, confidence: float, match: str) -> None:
    with pytest.raises(UserError, match=match):
        tail_mean_estimate([0.1, 0.2], alpha, confidence)
