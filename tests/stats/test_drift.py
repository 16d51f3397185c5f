"""Distances by hand, no alarm on rows of one distribution, an alarm on others."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.stats.drift import LEAST_STABILITY, Drift, energy_drift, stability_drift, stability_index


def test_the_stability_index_by_hand() -> None:
    # Two values: the edges between tenths are 1 and 2, bins are below 1, [1, 2) and from 2.
    reference = np.array([1.0] * 6 + [2.0] * 4)
    new = np.array([1.0] * 1 + [2.0] * 3)
    p = np.array([0.5, 6.5, 4.5]) / 11.5
    q = np.array([0.5, 1.5, 3.5]) / 5.5
    assert stability_index(reference, new) == pytest.approx(float(np.sum((p - q) * np.log(p / q))))


def test_equal_samples_have_no_distance() -> None:
    values = np.arange(100.0)
    assert stability_index(values, values) == 0.0
    assert not stability_drift("length", values, values).drifted


def test_values_beyond_the_reference_count_in_its_outer_bins() -> None:
    reference = np.arange(100.0)
    assert stability_index(reference, np.full(50, 1e6)) == pytest.approx(stability_index(reference, np.full(50, 99.0)))
    assert stability_drift("length", reference, np.full(50, 1e6)).drifted


def test_few_rows_have_a_higher_limit() -> None:
    reference = np.arange(1000.0)
    many, few = (stability_drift("length", reference, np.arange(count) * 1.0) for count in (1000, 20))
    assert many.limit == LEAST_STABILITY
    assert few.limit == pytest.approx(21.666 * (1 / 1000 + 1 / 20), rel=1e-4)  # 99 % of chi-square with 9 degrees
    assert few.count == 20


def test_false_alarms_are_rare_and_a_shift_is_seen() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=1000)
    alarms = [stability_drift("score", reference, rng.normal(size=60)).drifted for _ in range(300)]
    assert np.mean(alarms) < 0.03
    assert stability_drift("score", reference, rng.normal(1.0, size=60)).drifted


def test_a_constant_reference() -> None:
    same, other = (stability_drift("score", np.ones(50), np.full(50, value)) for value in (1.0, 2.0))
    assert not same.drifted
    assert other.value == 0.0  # both lie above the only edge: a constant says no more
    assert stability_drift("score", np.ones(50), np.zeros(50)).drifted


def test_the_energy_distance_by_hand() -> None:
    # Deviation of the reference is 1. Across: (3 + 5 + 1 + 3) / 4 = 3, within: 2 and 2. (6 - 4) / 6 = 1/3.
    found = energy_drift("embedding", np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
    assert found.value == pytest.approx(1 / 3)
    assert found.p_value is not None
    assert found.p_value > 0.01  # of 6 ways to part four rows, 2 are as far apart: nothing can be said
    assert not found.drifted


def test_the_energy_distance_ignores_the_features_units() -> None:
    rng = np.random.default_rng(1)
    reference, new, units = rng.normal(size=(40, 3)), rng.normal(0.5, size=(30, 3)), np.array([1.0, 100.0, 0.01])
    first, second = energy_drift("e", reference, new), energy_drift("e", reference * units, new * units)
    assert second.value == pytest.approx(first.value)


def test_a_shift_of_features_is_seen_and_chance_is_not() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(200, 16))
    assert energy_drift("e", reference, rng.normal(0.5, size=(80, 16))).drifted
    assert not any(energy_drift("e", reference, rng.normal(size=(80, 16)), seed=i).drifted for i in range(20))


def test_constant_features_and_large_samples() -> None:
    assert energy_drift("e", np.ones((5, 2)), np.ones((4, 2))).value == 0.0
    rng = np.random.default_rng(3)
    found = energy_drift("e", rng.normal(size=(2000, 2)), rng.normal(size=(700, 2)))
    assert found.count == 700
    assert not found.drifted


def test_drift_needs_size_and_significance() -> None:
    assert Drift("e", 0.3, 0.02, 5, "energy distance", 0.01).drifted
    assert not Drift("e", 0.3, 0.02, 5, "energy distance", 0.2).drifted
    assert not Drift("e", 0.01, 0.02, 5, "energy distance", 0.002).drifted
