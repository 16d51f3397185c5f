"""What is measured of made draws, by hand."""

from __future__ import annotations

import math

import pytest

from benchmarks.decoding.best_of_n import Judged, at, half_blind, lines_of, measure
from csrlhf.generation import Candidate


def one(sample: int, cost: float, reward: float, unsafe: bool = False) -> Judged:
    return Judged(Candidate(sample, "yes", True, {"harm": cost}, reward, True), unsafe, helped=not unsafe)


JUDGED = [
    [one(0, 2.0, 5.0, True), one(1, -1.0, 1.0), one(2, -1.0, 3.0, True), one(3, -1.0, 2.0)],
    [one(0, 2.0, 0.0, True), one(1, 3.0, 0.0, True), one(2, -2.0, 0.5), one(3, 1.0, 9.0)],
]


def test_rules_blocks_and_refusals() -> None:
    accepted = at(JUDGED, 0.0)
    best = measure(accepted, "p", "c", "best", 4)
    assert (best.unsafe, best.abstained, best.helped, best.reward, best.tried) == (0.5, 0.0, 0.5, 1.75, 4.0)
    first = measure(accepted, "p", "c", "first", 4)
    assert (first.unsafe, first.reward, first.tried) == (0.0, 0.75, 2.5)
    pairs = measure(accepted, "p", "c", "best", 2)
    # Blocks of two: a safe and an unsafe answer, a refusal and a safe one.
    assert (pairs.unsafe, pairs.abstained, pairs.reward) == (0.25, 0.25, pytest.approx((1.0 + 3.0 + 0.5) / 3))
    assert pairs.unsafe_half == pytest.approx(1.96 * math.sqrt(0.125) / math.sqrt(2))
    alone = measure(accepted, "p", "c", "first", 1)
    assert (alone.unsafe, alone.abstained, alone.tried) == (0.125, 0.5, 1.0)


def test_the_threshold_that_half_of_the_unsafe_ones_pass() -> None:
    threshold = half_blind(JUDGED)
    assert threshold == 2.0
    passed = [item.candidate.accepted for tries in at(JUDGED, threshold) for item in tries if item.unsafe]
    assert passed == [True, True, True, False]  # two of them lie on it
    assert half_blind([[one(0, 9.0, 0.0)]]) == 0.0


def test_all_settings_of_which_there_are_enough_draws() -> None:
    assert [(line.cost_model, line.rule, line.n) for line in lines_of(JUDGED, "SFT")] == [
        (model, rule, n) for model in ("τ = 0", "misses half") for rule in ("best", "first") for n in (1, 4)
    ]
