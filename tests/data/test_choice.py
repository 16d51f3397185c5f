"""Some prompts in the place of all: whatever the order of a file, and with every category's share."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from csrlhf.data.choice import ranked, representative
from csrlhf.types import PromptRow

ROWS = [PromptRow(f"prompt {i}", {"category": "benign" if i < 300 else "harmful"}) for i in range(500)]
"""A file that is sorted: its head is all benign, and a sample of it would say nothing of harm."""


@pytest.mark.parametrize("count", [1, 7, 64, 499])
def test_a_sorted_file_gives_every_category_its_share(count: int) -> None:
    chosen = representative(ROWS, count)
    assert len(chosen) == count
    assert abs(Counter(row.meta["category"] for row in chosen)["benign"] - 0.6 * count) < 1
    assert chosen == sorted(chosen, key=ROWS.index)


def test_the_order_of_the_file_decides_nothing() -> None:
    mixed = random.Random(0).sample(ROWS, len(ROWS))
    assert {row.prompt for row in representative(mixed, 64)} == {row.prompt for row in representative(ROWS, 64)}


def test_small_categories_are_rounded_by_largest_remainders() -> None:
    """Of 10 rows, 6 a, 3 b, 1 without a category; 5 of them are 3, 1.5 and .5: one of the halves is rounded up."""
    rows = [PromptRow(str(i), {"category": "a" if i < 6 else "b"} if i < 9 else {}) for i in range(10)]
    counts = Counter(row.meta.get("category") for row in representative(rows, 5))
    assert counts["a"] == 3
    assert counts["b"] + counts[None] == 2


def test_all_of_them_stay_as_they_are() -> None:
    assert representative(ROWS, None) == representative(ROWS, 500) == representative(ROWS, 1000) == ROWS


def test_the_seed_changes_the_order() -> None:
    assert ranked(ROWS) == ranked(ROWS) != ranked(ROWS, seed=1)
    assert sorted(ranked(ROWS)) == list(range(500))
