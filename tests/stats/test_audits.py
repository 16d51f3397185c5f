"""Audits at any time: capitals by hand, bounds that never widen, verdicts no falser than they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.errors import UserError
from csrlhf.stats.audits import (
    HIGH_STAKES,
    LOW_SHARES,
    LOW_WEIGHTS,
    Audit,
    anytime_bounds,
    anytime_sensitivity,
    decision,
    least_labels,
    log_capital_high,
    log_capital_low,
    outlook,
)
from csrlhf.stats.bounds import clopper_pearson_lower, clopper_pearson_upper, least_count
from csrlhf.stats.estimates import verdict


def test_capital_of_plain_labels_by_hand() -> None:
    """Safe, unsafe, safe, against 10 %: a bet b on less gains b m / (1 - m) at a safe one, and loses b at the other."""
    audit, m = Audit.plain([False, True, False]), 0.1
    safe, unsafe = 1 + LOW_SHARES * m / (1 - m), 1 - LOW_SHARES
    expected = [LOW_WEIGHTS @ factor for factor in (np.ones(10), safe, safe * unsafe, safe**2 * unsafe)]
    assert np.exp(log_capital_low(audit, m)) == pytest.approx(expected)
    share = np.minimum(HIGH_STAKES * m, 0.5)
    safe, unsafe = 1 - share, 1 + share * (1 / m - 1)
    expected = [np.mean(factor) for factor in (np.ones(6), safe, safe * unsafe, safe**2 * unsafe)]
    assert np.exp(log_capital_high(audit, m)) == pytest.approx(expected)


def test_capital_of_weighted_labels_by_hand() -> None:
    """The docstring's example: unsafe at rate 1 (Z = 1), two passed, safe at rate 0.5, three passed."""
    audit, m, z_max = Audit([True, False], [1, 0.5], [1, 4], passed=7, least_rate=0.5), 0.1, 2.0
    rest, hit = 1 + LOW_SHARES * m / (z_max - m), 1 - LOW_SHARES * (1 - m) / (z_max - m)
    expected = [LOW_WEIGHTS @ factor for factor in (rest**0, hit * rest**2, hit * rest**6)]
    assert np.exp(log_capital_low(audit, m)) == pytest.approx(expected)
    share = np.minimum(HIGH_STAKES * m, 0.5)
    expected = [np.mean(one) for one in (share**0, 1 + share * 9, (1 + share * 9) * (1 - share) ** 3)]
    assert np.exp(log_capital_high(audit, m)) == pytest.approx(expected)  # right behind each label: 0, 1, 4 passed
    assert audit.value == pytest.approx(1 / 7)


@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("truth", [0.001, 0.03, 0.2, 0.9])
def test_one_step_gains_nothing_on_average(rate: float, truth: float) -> None:
    """Whatever the cost model flags: the mean of the capital after one response is 1 at the truth itself."""
    flagged = {True: 1.0, False: rate}
    for bet, log_capital in (("low", log_capital_low), ("high", log_capital_high)):
        for unsafe_flagged in (0.0, 0.3, 1.0):  # share of the unsafe that is flagged; half of the safe are
            mean, m = 0.0, truth
            for unsafe, chance in ((True, truth), (False, 1 - truth)):
                share = unsafe_flagged if unsafe else 0.5
                for flag, probability in ((True, share), (False, 1 - share)):
                    labelled = Audit([unsafe], [flagged[flag]], [1], passed=1, least_rate=rate)
                    passed = Audit([], [], [], passed=1, least_rate=rate)
                    after = chance * probability
                    mean += after * flagged[flag] * math.exp(log_capital(labelled, m)[-1])
                    if bet == "low":  # a response that is passed over: Z = 0
                        mean += after * (1 - flagged[flag]) * math.exp(log_capital(passed, m)[-1])
                    else:  # seen right behind the next label: the same factor as a safe label's
                        safe = Audit([False], [1.0], [1], passed=1, least_rate=rate)
                        mean += after * (1 - flagged[flag]) * math.exp(log_capital(safe, m)[-1])
            assert mean == pytest.approx(1.0, abs=1e-9)


def test_bounds_of_no_label_and_of_safe_ones() -> None:
    nothing = anytime_bounds(Audit.plain([]), 0.95)
    assert (nothing.lower, nothing.upper, nothing.count) == (0.0, 1.0, 0)
    assert math.isnan(nothing.value)
    assert decision(Audit.plain([False] * 200), 0.03, 0.95) == ("CERTIFIED", 125)
    found = anytime_bounds(Audit.plain([False] * 125), 0.95)
    assert 0.029 < found.upper <= 0.03
    assert found.upper > clopper_pearson_upper(0, 125, 0.95)  # what it costs to have been allowed to look
    assert decision(Audit.plain([True] * 10), 0.03, 0.95) == ("VIOLATED", 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 5)), max_size=40), st.floats(0.02, 0.6))
def test_bounds_never_widen_and_agree_with_the_decision(rows: list, threshold: float) -> None:
    place = np.cumsum([step for _, _, step in rows]).astype(int)
    rates = [1.0 if flag else 0.25 for _, flag, _ in rows]
    passed = int(place[-1]) + 2 if rows else 3
    audit = Audit([unsafe for unsafe, _, _ in rows], rates, place, passed, 0.25)
    before = (0.0, 1.0)
    found, count = decision(audit, threshold, 0.9)
    for number in range(len(rows) + 1):
        now = anytime_bounds(audit.until(number), 0.9)
        assert before[0] - 1e-8 <= now.lower <= now.upper <= before[1] + 1e-8
        so_far = verdict(now.lower, now.upper, threshold)
        assert so_far in (("INCONCLUSIVE", found) if number <= count else (found,))
        before = now.lower, now.upper
    assert verdict(*before, threshold) == found


@pytest.mark.parametrize(("threshold", "confidence"), [(0.05, 0.95), (0.03, 0.975), (0.01, 0.9), (0.3, 0.5)])
def test_the_fewest_labels_that_certify(threshold: float, confidence: float) -> None:
    number = least_labels(threshold, confidence)
    assert least_count(threshold, confidence) < number < 2.5 * least_count(threshold, confidence)
    assert decision(Audit.plain([False] * int(number)), threshold, confidence)[0] == "CERTIFIED"
    assert decision(Audit.plain([False] * int(number - 1)), threshold, confidence)[0] == "INCONCLUSIVE"
    assert least_labels(0.0, confidence) == math.inf


def test_open_questions_count_against_either_verdict() -> None:
    unsafe = np.arange(400) % 10 == 9
    closed = anytime_bounds(Audit.plain(unsafe), 0.95)
    nothing_sure = Audit(unsafe, np.ones(400), np.arange(1, 401), 400, surely_L=np.zeros(400, dtype=bool))
    found = anytime_bounds(nothing_sure, 0.95)
    assert found.upper == closed.upper
    assert found.lower == 0.0 < closed.lower
    assert decision(nothing_sure, 0.03, 0.95)[0] == "INCONCLUSIVE"
    assert decision(Audit.plain(unsafe), 0.03, 0.95)[0] == "VIOLATED"


def test_a_contradiction_leaves_what_was_decided() -> None:
    """Labels that turn from safe to unsafe after a certificate: no draw of a fixed rate, and the verdict stays."""
    audit = Audit.plain([False] * 130 + [True] * 100)
    found = anytime_bounds(audit, 0.95)
    assert found.lower <= found.upper <= 0.03
    assert decision(audit, 0.03, 0.95) == ("CERTIFIED", 125)


def test_sensitivity_is_weighted() -> None:
    """Half of the unsafe are flagged; of what is labelled four in five are: counting labels would say 0.8."""
    rng = np.random.default_rng(0)
    unsafe, flag = rng.random(20_000) < 0.2, rng.random(20_000) < 0.5
    rate = np.where(flag, 1.0, 0.25)
    place = np.flatnonzero(rng.random(20_000) < rate)
    audit = Audit(unsafe[place], rate[place], place + 1, 20_000, 0.25)
    found = anytime_sensitivity(audit, flag[place], 0.95)
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert 0.4 < found.lower < 0.5 < found.upper < 0.6
    assert found.count == unsafe[place].sum()
    nothing = anytime_sensitivity(Audit.plain([False] * 10), [False] * 10, 0.95)
    assert (nothing.lower, nothing.upper) == (0.0, 1.0)


def test_the_outlook_is_about_right() -> None:
    """Of audits of all kinds that are open after 60 labels: half of the forecasts are too long, half too short."""
    rng, ratios = np.random.default_rng(1), []
    for _ in range(150):
        audit = Audit.plain(rng.random(6000) < np.exp(rng.uniform(np.log(0.002), np.log(0.2))))
        _, needed = decision(audit, 0.03, 0.95)
        if needed > 60:
            forecast = outlook(audit.until(60), 0.03, 0.95, [1.0], [1.0]).labels
            ratios.append(min(forecast, 6000) / (needed - 60))
    assert len(ratios) > 100
    assert 0.5 < np.median(ratios) < 2
    assert np.mean([0.25 < ratio < 4 for ratio in ratios]) > 0.5


def test_the_outlook_of_what_is_decided_and_of_what_is_at_the_threshold() -> None:
    assert outlook(Audit.plain([False] * 130), 0.03, 0.95, [1.0], [1.0]).labels == 0
    at_threshold = Audit.plain(np.arange(1000) % 33 == 32)
    assert outlook(at_threshold, 0.03, 0.95, [1.0], [1.0]).labels > 5000


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([True], [0.1], [1], 1, 0.2), "rates lie in"),
        (([True], [1.0], [1], 1, 0.0), "rates lie in"),
        (([True, False], [1.0, 1.0], [2, 2], 3), "places ascend"),
        (([True], [1.0], [5], 4), "places ascend"),
        (([True], [1.0, 1.0], [1, 2], 2), "one of each for every label"),
    ],
)
def test_what_is_no_audit_is_refused(arguments: tuple, match: str) -> None:
    with pytest.raises(UserError, match=match):
        Audit(*arguments)


def test_a_fixed_number_is_sharper_and_promises_one_look_alone() -> None:
    found = anytime_bounds(Audit.plain(np.arange(400) % 80 == 79), 0.95)
    assert (
        found.lower < clopper_pearson_lower(5, 400, 0.95) < 5 / 400 < clopper_pearson_upper(5, 400, 0.95) < found.upper
    )
