"""Shares instead of files: whole groups, the right amount, the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.data.near_duplicates import groups
from csrlhf.data.tables.splits import check_shares, split_by_prompt
from csrlhf.errors import UserError

WORDS = ("apple", "bread", "cedar", "dough", "eagle", "flute", "grape", "hotel", "igloo", "jelly")
PROMPTS = [f"how is a {first} like a {second} ?" for first in WORDS for second in WORDS]


def test_shares_are_met_and_every_row_goes_somewhere() -> None:
    parts = split_by_prompt(PROMPTS, {"validation": 0.1, "test": 0.2}, seed=0)
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 70, "validation": 10, "test": 20}
    assert sorted(row for rows in parts.values() for row in rows) == list(range(100))
    assert all(rows == sorted(rows) for rows in parts.values())


@given(st.integers(0, 20), st.lists(st.sampled_from(PROMPTS[:30]), max_size=60))
def test_a_group_is_never_divided(seed: int, prompts: list[str]) -> None:
    texts = [text.upper() if i % 3 else f"{text} !" for i, text in enumerate(PROMPTS[:30] + prompts)]
    parts = split_by_prompt(texts, {"validation": 0.3}, seed)
    of = groups(texts)
    assert {of[row] for row in parts["train"]}.isdisjoint(of[row] for row in parts["validation"])


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    def held_out(prompts: list[str], seed: int) -> set[str]:
        return {prompts[row] for row in split_by_prompt(prompts, {"test": 0.2}, seed)["test"]}

    assert held_out(PROMPTS, 0) == held_out(PROMPTS, 0) == held_out(PROMPTS[::-1], 0)
    assert held_out(PROMPTS, 0) != held_out(PROMPTS, 1)


def test_another_table_with_the_same_prompts_is_split_alike() -> None:
    twice = [prompt for prompt in PROMPTS for _ in range(2)]
    parts = split_by_prompt(twice, {"test": 0.2}, seed=0)
    assert {twice[row] for row in parts["test"]} == {
        PROMPTS[row] for row in split_by_prompt(PROMPTS, {"test": 0.2}, seed=0)["test"]
    }


def test_a_large_group_is_passed_over() -> None:
    prompts = [PROMPTS[0]] * 60 + PROMPTS[1:41]
    for seed in range(5):
        parts = split_by_prompt(prompts, {"test": 0.1}, seed)
        assert len(parts["test"]) == 10
        assert 0 not in parts["test"]


@pytest.mark.parametrize("seed", range(5))
def test_a_conversation_stays_with_its_longer_versions(seed: int) -> None:
    def conversation(*texts: str) -> tuple[dict[str, str], ...]:
        return tuple({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts))

    families = [
        [text, conversation(text.upper(), f"yes {text[::-1]}", f"and {text[8:]} too"), conversation(text, "no", "why")]
        for text in PROMPTS[:20]
    ]
    prompts = [prompt for family in families for prompt in family]
    parts = split_by_prompt(prompts, {"test": 0.3}, seed)
    assert len(parts["test"]) == 18
    assert {row // 3 for row in parts["test"]}.isdisjoint(row // 3 for row in parts["train"])


def test_what_cannot_be_divided() -> None:
    with pytest.raises(UserError, match=r"data.validation=0.5: data.train has 4 rows in 1 groups of near-duplicate"):
        split_by_prompt(["how ?"] * 4, {"validation": 0.5}, 0)


@pytest.mark.parametrize(
    ("shares", "has_train", "complaint"),
    [
        ({"validation": 1.0}, True, "data.validation=1: a share of data.train must lie between 0 and 1"),
        ({"test": 0.0}, True, "data.test=0: a share"),
        ({"test": float("nan")}, True, "data.test=nan: a share"),
        ({"train": 0.5}, False, "data.train=0.5: name a file"),
        ({"test": 0.5}, False, "data.test=0.5 is a share of data.train, which is not set"),
        ({"validation": 0.5, "test": 0.5}, True, "data.validation and data.test take 1 of data.train"),
    ],
)
def test_shares_that_are_none(shares: dict, has_train: bool, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        check_shares(shares, has_train)
    assert complaint in str(caught.value)
