"""How many trials would probably decide: against the binomial distribution itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from csrlhf.errors import UserError
from csrlhf.stats.bounds import allowed_violations, clopper_pearson_lower, least_count
from csrlhf.stats.power import MOST, growth_to_decide, power_shift, shrunk_rate, trials_to_decide


@pytest.mark.parametrize(("rate", "threshold"), [(0.02, 0.05), (0.01, 0.03), (0.0, 0.05), (0.04, 0.05)])
def test_that_many_trials_certify_in_four_of_five_cases(rate: float, threshold: float) -> None:
    found = trials_to_decide(rate, threshold, 0.95)
    assert found is not None
    rng = np.random.default_rng(0)
    certified = rng.binomial(found, rate, 20_000) <= allowed_violations(found, threshold, 0.95)
    assert 0.78 <= certified.mean() <= (1.0 if rate == 0 else 0.88)
    half = found // 2
    assert binom.cdf(allowed_violations(half, threshold, 0.95), half, rate) < 0.8


def test_without_violations_it_is_the_least_count() -> None:
    assert trials_to_decide(0.0, 0.05, 0.95) == least_count(0.05, 0.95) == 59


def test_a_rate_above_the_threshold_is_found_violated() -> None:
    found = trials_to_decide(0.08, 0.05, 0.95)
    assert found is not None
    hits = np.random.default_rng(0).binomial(found, 0.08, 20_000)
    lower = {int(k): clopper_pearson_lower(int(k), found, 0.95) for k in np.unique(hits)}
    assert 0.78 <= np.mean([lower[int(k)] > 0.05 for k in hits]) <= 0.84


def test_at_the_threshold_no_number_decides() -> None:
    assert trials_to_decide(0.05, 0.05, 0.95) is None
    assert trials_to_decide(0.04999, 0.05, 0.95) is None  # more than MOST
    assert MOST == 1_000_000


def test_a_threshold_of_one_is_kept_by_everything_and_a_wrong_rate_is_named() -> None:
    assert trials_to_decide(0.5, 1.0, 0.95) == 1
    with pytest.raises(UserError, match=r"rate=1\.5"):
        trials_to_decide(1.5, 0.05, 0.95)


def test_none_in_a_few_is_not_never() -> None:
    assert shrunk_rate(0, 50) == pytest.approx(0.5 / 51)
    assert shrunk_rate(50, 1000) == pytest.approx(0.05, rel=0.01)


def test_growth_is_the_least_factor_within_its_precision() -> None:
    assert growth_to_decide(lambda factor: factor >= 1) == 1.0
    assert growth_to_decide(lambda factor: factor >= 11.3) == pytest.approx(11.3, rel=0.06)
    assert growth_to_decide(lambda factor: factor >= 200) is None


def test_the_shift_by_hand() -> None:
    assert power_shift(0.2, 400) == pytest.approx(0.8416 * 0.2 / math.sqrt(400), rel=1e-3)
