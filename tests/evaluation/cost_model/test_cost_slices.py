"""Slices by hand: counts, shares with exact intervals, rows without a category, equal lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from csrlhf.evaluation.cost_model.evaluation import by_category, by_length, share_of, slice_of

LOGIT = np.array([2.0, -1.0, 0.5, -0.5, 1.0, -2.0])
UNSAFE = np.array([True, True, False, False, True, False])


def test_a_slice_by_hand() -> None:
    part = slice_of("all", LOGIT, UNSAFE)
    assert (part.count, part.correct.hits, part.correct.count) == (6, 4, 6)
    assert (part.recall.hits, part.recall.count) == (2, 3)
    assert (part.false_alarms.hits, part.false_alarms.count) == (1, 3)
    assert part.recall.value == pytest.approx(2 / 3)
    assert part.auroc == pytest.approx(7 / 9)  # 2.0 and 1.0 are above all three, -1.0 above one


def test_shares_have_exact_intervals() -> None:
    none = share_of(0, 10)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert all(math.isnan(x) for x in (share_of(0, 0).value, share_of(0, 0).low, share_of(0, 0).high))


def test_by_category() -> None:
    parts = by_category(LOGIT, UNSAFE, ["b", "a", "b", None, "a", None])
    assert [(part.name, part.count) for part in parts] == [("a", 2), ("b", 2), ("(none)", 2)]
    assert math.isnan(parts[0].auroc)  # both are unsafe
    assert by_category(LOGIT, UNSAFE, [None] * 6) == []


def test_by_length() -> None:
    parts = by_length(LOGIT, UNSAFE, np.array([1.0, 2, 3, 4, 5, 6]))
    # The quarters' edges are 2, 3 and 4 (the lower of the two neighbours), each with what lies below it.
    assert [part.name for part in parts] == ["1 to 2 words", "3 words", "4 words", "5 to 6 words"]
    assert sum(part.count for part in parts) == 6
    [only] = by_length(LOGIT, UNSAFE, np.full(6, 7.0))
    assert (only.name, only.count) == ("7 words", 6)
