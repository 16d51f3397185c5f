"""Some prompts in the place of all: whatever the order of a file, and with every category's share."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from csrlhf.data.choice import for_confirmation, ranked, representative
from csrlhf.errors import UserError
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


def split(count: int, taken: int) -> tuple[list[PromptRow], list[PromptRow]]:
    """Rows of three categories, and those of an evaluation."""
    rows = [PromptRow(f"prompt {n}", {"category": "abc"[n % 3]}) for n in range(count)]
    return rows, representative(rows, taken)


@pytest.mark.parametrize(
    ("count", "taken", "expected"),
    [(29, 10, 0), (30, 10, 20), (45, 10, 35), (50, 10, 40), (500, 10, 40), (10, 10, 0)],
)
def test_a_confirmation_takes_what_is_left_from_twice_to_four_times_an_evaluation(
    count: int, taken: int, expected: int
) -> None:
    rows, first = split(count, taken)
    found = for_confirmation(rows, first, None)
    assert len(found) == expected
    assert not {row.prompt for row in found} & {row.prompt for row in first}
    if expected:
        shares = Counter(row.meta["category"] for row in found)
        assert max(shares.values()) - min(shares.values()) <= 1


def test_a_confirmation_has_as_many_as_asked_for_or_says_how_many_there_are() -> None:
    rows, first = split(29, 10)
    assert len(for_confirmation(rows, first, 5)) == 5
    assert for_confirmation(rows, first, 0) == []
    with pytest.raises(UserError, match=r"ppo\.num_confirmation=20: ppo\.num_validation=10 leaves 19 of 29 .*=19"):
        for_confirmation(rows, first, 20)


def test_a_prompt_that_stands_twice_in_the_file_is_on_one_side() -> None:
    """Else the evaluations would have seen what is to confirm them."""
    rows = [PromptRow(f"prompt {n // 2}") for n in range(40)]
    first = representative(rows, 9)  # the second of a pair among them
    found = for_confirmation(rows, first, None)
    assert len(found) >= 18
    assert not {row.prompt for row in found} & {row.prompt for row in first}
