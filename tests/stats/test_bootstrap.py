"""Intervals: their width is known for a mean, and groups move together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from csrlhf.stats import intervals
from csrlhf.stats.intervals import bootstrap_intervals, bootstrap_intervals_of_counts


def test_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_intervals(lambda i: {"mean": float(values[i].mean())}, range(400))["mean"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_copies_in_one_group_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=100)
    tenfold = np.repeat(values, 10)

    def width(data: np.ndarray, groups: list[int]) -> float:
        low, high = bootstrap_intervals(lambda i: {"mean": float(data[i].mean())}, groups)["mean"]
        return high - low

    once = width(values, list(range(100)))
    assert width(tenfold, [i // 10 for i in range(1000)]) == pytest.approx(once, rel=0.05)
    assert width(tenfold, list(range(1000))) < 0.5 * once


def test_the_seed_fixes_it() -> None:
    def interval(seed: int) -> tuple[float, float]:
        return bootstrap_intervals(lambda i: {"x": float(i.mean())}, range(50), 50, seed=seed)["x"]

    assert interval(1) == interval(1) != interval(2)


def test_resamples_without_a_value_are_left_out() -> None:
    nan = float("nan")
    found = bootstrap_intervals(lambda i: {"x": 1.0 if 0 in i else nan, "never": nan}, range(3), 50)
    assert found["x"] == (1.0, 1.0)
    assert all(math.isnan(bound) for bound in found["never"])


def test_no_rows() -> None:
    with pytest.raises(ValueError, match="groups is empty"):
        bootstrap_intervals(lambda i: {}, [])


def test_counts_are_of_the_same_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(0).normal(size=60), [i // 3 % 17 for i in range(60)]
    one_at_a_time = bootstrap_intervals(lambda i: {"mean": float(values[i].mean())}, groups, 50)
    for at_once in (1, 7 * 60, 10**6):
        monkeypatch.setattr(intervals, "COUNTS_AT_ONCE", at_once)
        found = bootstrap_intervals_of_counts(lambda c: {"mean": c @ values / c.sum(axis=1)}, groups, 50)
        assert found["mean"] == pytest.approx(one_at_a_time["mean"])
