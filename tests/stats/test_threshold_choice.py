"""A certified threshold by hand, its price, and what is said where none can be certified."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.stats.thresholds import CANDIDATES, choose_threshold, positives_needed


def rows(unsafe: list[float], safe: list[float]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    logits = np.array([*unsafe, *safe])
    truth = np.array([True] * len(unsafe) + [False] * len(safe))
    return logits, truth, [f"p{row}" for row in range(len(logits))]


def test_fifty_nine_without_a_miss_certify_five_percent() -> None:
    # 0.95 ** 59 = 0.0485 <= 0.05 < 0.95 ** 58: one miss among so few proves nothing.
    choice = choose_threshold(*rows([0.49] + [2.0] * 58, [-3.0, 0.46, 0.41, 1.0]), 0.05, 0.05)
    assert choice.largest == pytest.approx(0.45)  # the candidate below the lowest unsafe one
    assert choice.tau == pytest.approx(0.45)  # any lower one flags the 0.41 as well
    assert (choice.unsafe, choice.missed, choice.least_unsafe) == (59, 0, 59)
    assert (choice.safe, choice.safe_flagged) == (4, 2)
    assert choice.upper <= 0.05
    assert choice.safe_flagged_low == pytest.approx(0.0676, abs=1e-4)  # Clopper-Pearson of 2 in 4
    assert "At τ = 0.45 at most 5% of the unsafe responses pass, with confidence 95%" in choice.sentences()[0]
    assert "2 of 4 safe responses" in choice.sentences()[1]


def test_with_fifty_eight_nothing_can_be_certified() -> None:
    choice = choose_threshold(*rows([2.0] * 58, [-3.0] * 10), 0.05, 0.05)
    assert choice.tau is None
    assert np.isnan(choice.upper)
    assert np.isnan(choice.safe_flagged_rate)
    assert choice.needed_at_zero == 59
    [first, second] = choice.sentences()
    assert first.startswith("No threshold can be certified to miss at most 5%")
    assert "fewer than 59" in first
    assert "about 59 unsafe prompts would certify it" in second


def test_more_examples_allow_misses() -> None:
    # P(Bin(92, 0.05) <= 1) = 0.0521, 94: 0.0479.
    unsafe = [-1.0, *[1.0] * 93]
    assert choose_threshold(*rows(unsafe, [0.0]), 0.05, 0.05).largest == pytest.approx(0.95)
    assert choose_threshold(*rows(unsafe[:-2], [0.0]), 0.05, 0.05).largest == pytest.approx(-1.05)


def test_of_equally_cheap_thresholds_the_one_nearest_zero() -> None:
    apart = choose_threshold(*rows([30.0] * 60, [-30.0] * 9), 0.05, 0.05)
    assert (apart.tau, apart.largest) == (0.0, 12.0)  # a perfect model needs no other threshold than the usual one
    above = choose_threshold(*rows([5.0] * 60, [0.7, 9.0]), 0.05, 0.05)
    assert above.tau == pytest.approx(0.7)  # flagged is what lies above it
    assert (above.missed, above.safe_flagged) == (0, 1)
    below = choose_threshold(*rows([-1.0] * 60, [-2.0]), 0.05, 0.05)
    assert below.tau == below.largest == pytest.approx(-1.05)


def test_the_answers_to_one_prompt_count_once() -> None:
    logits, truth, prompts = rows([2.0] * 60, [])
    assert choose_threshold(logits, truth, prompts, 0.05, 0.05).tau is not None
    choice = choose_threshold(logits, truth, ["same"] * 30 + prompts[30:], 0.05, 0.05)
    assert choice.unsafe == 31
    assert choice.tau is None


def test_one_class_only() -> None:
    choice = choose_threshold(*rows([], [1.0, 2.0]), 0.05, 0.05)
    assert (choice.tau, choice.unsafe, choice.needed_at_zero) == (None, 0, None)
    assert "there are 0" in choice.sentences()[0]
    assert len(choice.sentences()) == 1
    choice = choose_threshold(*rows([2.0] * 60, []), 0.05, 0.05)
    assert (choice.tau, choice.largest) == (0.0, pytest.approx(1.95))
    assert "no safe responses" in choice.sentences()[1]


def test_a_model_that_misses_more_than_allowed() -> None:
    choice = choose_threshold(*rows([-1.0] * 30 + [1.0] * 70, [0.0]), 0.05, 0.05)
    assert choice.tau == pytest.approx(-1.05)
    assert choice.missed_at_zero == 0.3
    assert choice.needed_at_zero is None
    assert choice.sentences()[-1] == "At τ = 0 it misses 30.0%: no number of examples would certify that."
    beyond = choose_threshold(*rows([-20.0] * 80, [0.0]), 0.05, 0.05)  # scored below every candidate
    assert beyond.tau is None
    assert "even the strictest threshold misses too many" in beyond.sentences()[0]


def test_how_many_would_be_needed() -> None:
    assert positives_needed(0.0, 0.05, 0.05) == 59
    assert positives_needed(0.0, 0.01, 0.05) == 299
    assert positives_needed(0.05, 0.05, 0.05) is None
    few, many = positives_needed(0.01, 0.05, 0.05), positives_needed(0.04, 0.05, 0.05)
    assert few is not None
    assert many is not None
    assert 59 < few < many


def test_the_guarantee_holds_over_many_files() -> None:
    # Unsafe answers score N(1, 1): the true share missed at τ is known. It may be above 5 % in 5 % of the files.
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        logits = rng.normal(1.0, 1.0, size=150)
        choice = choose_threshold(logits, np.ones(150, dtype=bool), list(range(150)), 0.05, 0.05)
        broken += choice.largest is not None and norm.cdf(choice.largest - 1.0) > 0.05
    assert broken <= 25  # 99.5 % of Binomial(300, 0.05)


def test_candidates_are_round_numbers_in_rising_order() -> None:
    assert CANDIDATES[0] == -12
    assert CANDIDATES[-1] == 12
    assert np.all(np.diff(CANDIDATES) > 0)
    assert 0.0 in CANDIDATES
