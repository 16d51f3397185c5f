"""UltraFeedback's columns: turns, scores, and pairs that say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.public.ultrafeedback import UltraFeedback
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, PreferenceRow, PromptRow


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"content": text, "role": ("user", "assistant")[i % 2]} for i, text in enumerate(texts)]


ROW: dict[str, Any] = {
    "prompt": "Name a colour.",
    "prompt_id": "ab12",
    "chosen": turns("Name a colour.", "Blue."),
    "rejected": turns("Name a colour.", "Seven."),
    "messages": turns("Name a colour.", "Blue."),
    "score_chosen": 8.5,
    "score_rejected": 3.0,
}


def data(folder: Path, *rows: Any, **options: Any) -> UltraFeedback:
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return UltraFeedback(train=str(folder / "x.jsonl"), **({"bad_rows": "error"} | options))


def test_pairs_demonstrations_and_prompts(tmp_path: Path) -> None:
    long = {"chosen": turns("Hi.", "Hello.", "A fish?", "Cod."), "rejected": turns("Hi.", "Hello.", "A fish?", "Cow.")}
    source = data(tmp_path, ROW, long)
    before = tuple(turns("Hi.", "Hello.", "A fish?"))
    assert isinstance(source, DataSource)
    assert source.preferences("train") == [
        PreferenceRow("Name a colour.", "Blue.", "Seven."),
        PreferenceRow(before, "Cod.", "Cow."),
    ]
    assert source.demonstrations("train") == [
        DemonstrationRow("Name a colour.", "Blue."),
        DemonstrationRow(before, "Cod."),
    ]
    assert source.prompts("train") == [PromptRow("Name a colour."), PromptRow(before)]


def test_a_system_turn_belongs_to_the_prompt(tmp_path: Path) -> None:
    system = [{"role": "system", "content": "Be brief."}]
    row = ROW | {"chosen": system + ROW["chosen"], "rejected": system + ROW["rejected"]}
    assert len(data(tmp_path, row).prompts("train")[0].prompt) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score_rejected": 8.5}, "a tie in the scores"),
        ({"score_rejected": 9}, "rejected has the higher score"),
        ({"rejected": ROW["chosen"]}, "chosen and rejected are the same"),
        ({"rejected": turns("Name a fruit.", "Plum.")}, "chosen and rejected answer different prompts"),
    ],
)
def test_a_pair_that_says_nothing_is_left_out_and_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    source = data(tmp_path, ROW | change, ROW)
    with pytest.warns(UserWarning, match=rf"1 of 2 rows are left out; the first: .*x.jsonl:1: {reason}"):
        assert len(source.preferences("train")) == 1
    assert source.left_out == {"train": {reason: 1}}
    assert len(source.demonstrations("train")) == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"chosen": "Blue."}, "chosen must be a list of turns that ends with the assistant's"),
        ({"chosen": turns("Name a colour.")}, "chosen must be a list of turns that ends with the assistant's"),
        (
            {"chosen": turns("Name a colour.", "Blue.")[1:]},
            "the prompt must be a list of turns that ends with the user's",
        ),
        ({"chosen": [{"role": "user"}, *turns("", "Blue.")[1:]]}, "a turn must have role and content"),
        ({"chosen": turns("Name a colour.", "")}, "texts that are not empty"),
        ({"chosen": [[], *turns("", "Blue.")[1:]]}, "a turn must have role and content"),
        ({"score_chosen": "high"}, "score_chosen is 'high': it must be a number"),
        ({"score_chosen": None}, "the column score_chosen is missing or empty"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        data(tmp_path, ROW, ROW | change).preferences("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert complaint in str(caught.value)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    for column, left in (("chosen", "rejected"), ("rejected", "chosen"), ("score_rejected", "score_chosen")):
        row = {key: value for key, value in ROW.items() if key != column}
        with pytest.raises(UserError, match=rf":1: the column {column} is missing or empty \(columns: .*{left}"):
            data(tmp_path, row).preferences("train")
