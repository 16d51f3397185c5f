"""Learn-then-test by hand, against MAPIE's parts, and against what a greedy choice would say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import fwer_control, methods
from scipy.stats import binomtest

from csrlhf.errors import UserError
from csrlhf.stats.bounds import clopper_pearson_upper
from csrlhf.stats.thresholds import binomial_p_value, binomial_p_values, learn_then_test


def labelled(seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    unsafe = rng.random(count) < 0.5
    return rng.normal(size=count) + np.where(unsafe, 1.5, -1.5), unsafe


def test_by_hand() -> None:
    scores, unsafe = np.array([-2.0, -1.0, *[1.0] * 58]), np.array([False, *[True] * 59])
    found = learn_then_test(scores, unsafe, 0.05, 0.05, [-3.0, -1.5, -0.5])
    # no miss of 59 up to -1.5: 0.95^59 < 0.05; then one: P(X <= 1) = 0.199
    assert found.threshold == -1.5
    assert [test.errors for test in found.tests] == [0, 0, 1]
    assert [test.count for test in found.tests] == [59, 59, 59]
    assert found.tests[1].p_value == pytest.approx(0.95**59)
    assert found.tests[2].p_value == pytest.approx(0.95**59 + 59 * 0.05 * 0.95**58)
    assert [test.certified for test in found.tests] == [True, True, False]
    assert found.tests[1].accepted == pytest.approx(1 / 60)
    assert found.chosen == found.tests[1]


def test_too_few_unsafe_answers_certify_nothing() -> None:
    # 58 unsafe answers and no miss are one too few for 5 % at 95 %
    found = learn_then_test([1.0] * 58, [True] * 58, 0.05, 0.05, [-1.0, 0.0])
    assert found.threshold is None
    assert found.chosen is None


def test_the_three_risks_are_shares_of_different_answers() -> None:
    scores, unsafe = [-1.0, -1.0, -1.0, 1.0, 1.0], [True, False, False, True, False]
    counts = {
        risk: (test.errors, test.count)
        for risk in ("miss_rate", "unsafe_accepted", "unsafe_given_accepted")
        for test in learn_then_test(scores, unsafe, 0.5, 0.5, [0.0], risk).tests
    }
    assert counts == {"miss_rate": (1, 2), "unsafe_accepted": (1, 5), "unsafe_given_accepted": (1, 3)}


def test_the_sequence_stops_at_the_first_failure() -> None:
    scores, unsafe = labelled()
    grid = [-4.0, 3.0, -3.0]  # 3.0 fails: -3.0 alone would pass, but comes too late
    found = learn_then_test(scores, unsafe, 0.05, 0.05, grid)
    assert found.tests[2].p_value <= 0.05
    assert [test.certified for test in found.tests] == [True, False, False]
    assert found.threshold == -4.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.01, 0.5))
def test_p_values_are_scipys_test(errors: int, count: int, alpha: float) -> None:
    errors = min(errors, count)
    expected = binomtest(errors, count, alpha, alternative="less").pvalue
    assert binomial_p_value(errors, count, alpha) == pytest.approx(expected, abs=1e-12)
    assert binomial_p_values([errors, 0], [count, 0], alpha).tolist() == [binomial_p_value(errors, count, alpha), 1.0]
    # rejecting at δ and a Clopper-Pearson bound at most α are one and the same
    if abs(expected - 0.05) > 1e-6:
        assert (expected <= 0.05) == (clopper_pearson_upper(errors, count, 0.95) <= alpha)


def test_no_answer_no_evidence() -> None:
    assert binomial_p_values([0], [0], 0.05)[0] == 1.0
    assert learn_then_test([1.0], [True], 0.05, 0.05, [0.0], "unsafe_given_accepted").threshold is None


def test_mapie_agrees_on_p_values_and_on_the_sequence() -> None:
    scores, unsafe = labelled(3)
    found = learn_then_test(scores, unsafe, 0.1, 0.05, np.arange(-30, 20) / 10)
    ours = np.array([test.p_value for test in found.tests])
    rates = np.array([test.errors / test.count for test in found.tests])
    # its rounding up can lose an event, n · (k/n) > k: it may be larger, never smaller
    theirs = methods.compute_hoeffding_bentkus_p_value(rates, found.tests[0].count, 0.1, binary=True)[:, 0]
    assert (theirs >= ours - 1e-12).all()
    assert np.isclose(theirs, ours).mean() > 0.5
    rejected = fwer_control.control_fwer(ours, 0.05, fwer_method="fixed_sequence")
    assert [place for place, test in enumerate(found.tests) if test.certified] == rejected.tolist()


def test_stricter_demands_choose_stricter_thresholds() -> None:
    grid = np.arange(-40, 40) / 10
    for seed in range(5):
        scores, unsafe = labelled(seed)
        taus = [learn_then_test(scores, unsafe, alpha, 0.05, grid).threshold for alpha in (0.05, 0.1, 0.2)]
        assert taus == sorted(taus, key=lambda tau: -math.inf if tau is None else tau)
        strict, loose = (learn_then_test(scores, unsafe, 0.1, delta, grid).threshold for delta in (0.01, 0.2))
        assert strict is not None
        assert loose is not None
        assert strict <= loose
        greedy = max(tau for tau in grid if ((scores <= tau) & unsafe).sum() <= 0.1 * unsafe.sum())
        assert loose <= greedy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scores": []}, "scores is empty"),
        ({"scores": [math.nan, 1.0]}, r"scores\[0\]=nan"),
        ({"unsafe": [True]}, "same responses"),
        ({"unsafe": [0.5, 1]}, "only true and false"),
        ({"thresholds": []}, "thresholds is empty"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"risk": "harm"}, "risk='harm': choose one of miss_rate"),
    ],
)
def test_refuses(changes: dict, words: str) -> None:
    arguments = {"scores": [0.0, 1.0], "unsafe": [True, False], "alpha": 0.05, "delta": 0.05, "thresholds": [0.0]}
    with pytest.raises(UserError, match=words):
        learn_then_test(**(arguments | changes))
