"""HelpSteer2: pairs from two rated rows, ties, turns in a text, and pairs with an order of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.public.helpsteer2 import HelpSteer2
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, PreferenceRow, PromptRow


def rated(prompt: str, response: str, helpfulness: int, verbosity: int = 2) -> dict[str, Any]:
    ratings = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": verbosity}
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness} | ratings


def data(folder: Path, *rows: dict[str, Any], **options: Any) -> HelpSteer2:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return HelpSteer2(train=str(path), **options)


ROWS = [rated("c#", "So.", 1, 4), rated("c#", "A language.", 4, 1), rated("why?", "x", 3, 1), rated("why?", "y", 3, 2)]


def test_two_rows_with_one_prompt_are_a_pair(tmp_path: Path) -> None:
    source = data(tmp_path, *ROWS, rated("alone", "z", 4))
    assert isinstance(source, DataSource)
    with pytest.warns(UserWarning, match=r"1 of 5 rows are left out; .*:3: a tie: neither response is the better one"):
        assert source.preferences("train") == [PreferenceRow("c#", "A language.", "So.")]
    assert [row.prompt for row in source.prompts("train")] == ["c#", "why?", "alone"]
    assert source.demonstrations("train")[0] == DemonstrationRow("c#", "A language.")
    assert len(source.demonstrations("train")) == 4


def test_another_attribute_orders_them(tmp_path: Path) -> None:
    found = data(tmp_path, *ROWS, attribute="verbosity").preferences("train")
    assert [(row.chosen, row.rejected) for row in found] == [("So.", "A language."), ("y", "x")]
    with pytest.raises(UserError, match=r"data.attribute=length: must be one of helpfulness, correctness"):
        data(tmp_path, *ROWS, attribute="length")


def test_the_folder_of_preferences(tmp_path: Path) -> None:
    pairs = [
        {"prompt": "c#", "response_1": "A.", "response_2": "B.", "preference_strength": strength}
        for strength in (-2, 3, 0)
    ]
    with pytest.warns(UserWarning, match=r"1 of 3 rows are left out; .*:3: a tie"):
        found = data(tmp_path, *pairs).preferences("train")
    assert [(row.chosen, row.rejected) for row in found] == [("A.", "B."), ("B.", "A.")]


def test_later_turns_stand_in_the_text(tmp_path: Path) -> None:
    prompt = "hi\n\n<extra_id_1>Assistant\nhello\n<extra_id_1>User\na joke?"
    turns = [("user", "hi"), ("assistant", "hello"), ("user", "a joke?")]
    expected = tuple({"role": role, "content": content} for role, content in turns)
    assert data(tmp_path, rated(prompt, "no.", 4)).prompts("train") == [PromptRow(expected)]


def test_halves_of_a_pair_stay_in_one_split(tmp_path: Path) -> None:
    words = ["apple", "bridge", "cloud", "drum", "engine", "forest", "guitar", "harbour"]
    rows = [rated(f"tell me about the {word}", f"{word} {n}", 1 + n) for word in words for n in (0, 3)]
    source = data(tmp_path, *rows, validation=0.25)
    assert [len(source.preferences(split)) for split in ("train", "validation")] == [6, 2]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (rated("c#", "So.", 1) | {"helpfulness": "good"}, "helpfulness is 'good': it must be a number"),
        (rated("c#", "", 1), "response is empty"),
        (rated("hi<extra_id_1>Assistant\nhello", "x", 1), "prompt must be a list of turns that ends with the user's"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        data(tmp_path, row, rated("c#", "No.", 3)).preferences("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:1: ")
    assert complaint in str(caught.value)
