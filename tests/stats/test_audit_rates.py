"""Which responses are labelled how often: by their number and the threshold, by flags, by nothing that comes later."""

from __future__ import annotations

import numpy as np

from csrlhf.stats.audit_rates import accepted_rate, labelling_rates


def test_rates_of_what_is_accepted() -> None:
    assert accepted_rate(2000, 0.03, 0.95) == 0.2
    assert accepted_rate(1000, 0.03, 0.95) == 0.4
    assert accepted_rate(300, 0.03, 0.95) == 1.0
    assert accepted_rate(2000, 0.01, 0.95) == 0.6
    assert accepted_rate(0, 0.03, 0.95) == accepted_rate(100, 0.0, 0.95) == 1.0


def test_flags_are_labelled_until_they_are_many() -> None:
    assert labelling_rates([True, False, True], 0.2).tolist() == [1.0, 0.2, 1.0]
    all_flagged = labelling_rates([True] * 10, 0.2).tolist()
    assert all_flagged == [1.0] * 6 + [0.4] * 4  # five before, and a tenth of those
    assert labelling_rates([True] * 10, 0.7).tolist() == [1.0] * 6 + [0.7] * 4
    assert labelling_rates([], 0.2).tolist() == []


def test_a_rate_depends_on_nothing_behind_it() -> None:
    rng = np.random.default_rng(0)
    flagged = rng.random(500) < 0.15
    whole = labelling_rates(flagged, 0.2)
    assert set(whole) == {0.2, 0.4, 1.0}
    for number in (1, 50, 200):
        assert labelling_rates(flagged[:number], 0.2).tolist() == whole[:number].tolist()
