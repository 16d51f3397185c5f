"""Who says that a prompt is harmless: the column, the category, or the config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.harmless import is_harmful, prompt_meta
from csrlhf.data.jsonl import JsonlData
from csrlhf.errors import UserError


def data(folder: Path, *rows: dict[str, Any], **options: Any) -> JsonlData:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return JsonlData(test=str(path), **options)


@pytest.mark.parametrize(
    ("meta", "category", "harmful"),
    [
        ({}, "benign", False),
        ({}, "keyword_alike", False),
        ({}, "harmful", True),
        ({}, "violence", None),
        ({}, None, None),
        ({"harmful": False}, "violence", False),
        ({"harmful": True}, "benign", True),
        ({"harmful": "TRUE"}, None, True),
        ({"harmful": 0}, None, False),
        ({"harmful": "very"}, "violence", None),
    ],
)
def test_the_column_comes_before_the_category(meta: dict[str, Any], category: str | None, harmful: bool | None) -> None:
    assert is_harmful(meta, category) is harmful


def test_other_categories_can_be_named() -> None:
    assert is_harmful({}, "mild", benign=("mild",)) is False
    assert is_harmful({}, "violence", harmful=("violence",)) is True
    assert is_harmful({}, "benign", benign=("mild",)) is None


def test_an_adapter_states_it_in_both_ways() -> None:
    meta = prompt_meta(False, harmless_word="keyword_alike", harm="violence", attack=None)
    assert meta == {"category": "keyword_alike", "harmful": False, "harm": "violence"}
    assert prompt_meta(True) == {"category": "harmful", "harmful": True}


VIOLENT, MILD = {"prompt": "a", "category": "violence"}, {"prompt": "b", "category": "mild"}


@pytest.mark.parametrize(
    ("harmless", "harmful"), [(True, [False, False]), (False, [True, True]), (["mild"], [True, False])]
)
def test_the_config_says_it_of_all_prompts_or_by_category(tmp_path: Path, harmless: Any, harmful: list[bool]) -> None:
    found = data(tmp_path, VIOLENT, MILD, harmless=harmless).prompts("test")
    assert [row.meta["harmful"] for row in found] == harmful
    assert [row.meta["category"] for row in found] == ["violence", "mild"]


def test_nothing_is_said_where_nobody_says_it(tmp_path: Path) -> None:
    assert data(tmp_path, VIOLENT).prompts("test")[0].meta == {"category": "violence"}


@pytest.mark.parametrize(
    ("row", "harmless", "complaint"),
    [
        ({"prompt": "a"}, ["mild"], r"x.jsonl:1: data.harmless=\['mild'\] lists categories, and the row has none"),
        (VIOLENT | {"harmful": True}, True, r"x.jsonl:1: harmful is True, and data.harmless says the opposite"),
    ],
)
def test_a_statement_that_does_not_fit_the_row(tmp_path: Path, row: Any, harmless: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        data(tmp_path, row, harmless=harmless).prompts("test")


@pytest.mark.parametrize("harmless", ["mild", [], 1, [True]])
def test_no_statement(tmp_path: Path, harmless: Any) -> None:
    with pytest.raises(UserError, match=r"data.harmless=.*: must be true \(all prompts\), false \(none\), or a list"):
        data(tmp_path, VIOLENT, harmless=harmless)
