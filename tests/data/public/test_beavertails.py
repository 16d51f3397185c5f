"""BeaverTails' columns: one harm by default, or an output per category."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.public.beavertails import BeaverTails
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PromptRow

CATEGORIES = dict.fromkeys(
    [
        "animal_abuse",
        "child_abuse",
        "controversial_topics,politics",
        "discrimination,stereotype,injustice",
        "drug_abuse,weapons,banned_substance",
        "financial_crime,property_crime,theft",
        "hate_speech,offensive_language",
        "misinformation_regarding_ethics,laws_and_safety",
        "non_violent_unethical_behavior",
        "privacy_violation",
        "self_harm",
        "sexually_explicit,adult_content",
        "terrorism,organized_crime",
        "violence,aiding_and_abetting,incitement",
    ],
    False,
)
SAFE: dict[str, Any] = {"prompt": "Can I borrow a pen?", "response": "Yes.", "category": CATEGORIES, "is_safe": True}
THEFT = {"financial_crime,property_crime,theft": True, "non_violent_unethical_behavior": True}
UNSAFE = SAFE | {"response": "Just keep it.", "is_safe": False, "category": CATEGORIES | THEFT}


def data(folder: Path, *rows: Any, **options: Any) -> BeaverTails:
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return BeaverTails(train=str(folder / "x.jsonl"), **options)


def test_one_harm_by_default(tmp_path: Path) -> None:
    source = data(tmp_path, SAFE, UNSAFE)
    assert isinstance(source, DataSource)
    assert source.labelled("train") == [
        LabelledRow("Can I borrow a pen?", "Yes.", (0.0,), {"category": "safe"}),
        LabelledRow("Can I borrow a pen?", "Just keep it.", (1.0,), {"category": "financial_crime"}),
    ]
    assert source.demonstrations("train") == [DemonstrationRow("Can I borrow a pen?", "Yes.")]
    assert source.prompts("train") == [PromptRow("Can I borrow a pen?")]


def test_several_categories_are_several_outputs(tmp_path: Path) -> None:
    names = ["privacy_violation", "financial_crime", "harm"]
    source = data(tmp_path, SAFE, UNSAFE, constraints=names)
    assert source.constraints == tuple(names)
    assert [row.unsafe for row in source.labelled("train")] == [(0.0, 0.0, 0.0), (0.0, 1.0, 1.0)]


def test_each_of_the_fourteen_can_be_named(tmp_path: Path) -> None:
    names = [category.split(",")[0] for category in CATEGORIES]
    assert data(tmp_path, UNSAFE, constraints=names).labelled("train")[0].unsafe.count(1.0) == 2


def test_it_has_no_preferences(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data=beavertails has no preferences: its columns serve prompts, demonstr"):
        data(tmp_path, SAFE).preferences("train")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"is_safe": "yes"}, "is_safe is 'yes': it must be true or false"),
        ({"category": "theft"}, "category must be an object with true or false for each name: 'theft'"),
        ({"category": {}}, "category must be an object"),
        ({"category": CATEGORIES | {"self_harm": True}}, "labelled safe, and the category self_harm is true"),
        ({"response": " "}, "response is empty"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        data(tmp_path, UNSAFE, SAFE | change).labelled("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert complaint in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    row = {key: value for key, value in SAFE.items() if key != "category"}
    with pytest.raises(
        UserError, match=r":1: the column category is missing or empty \(columns: prompt, response, is_safe\)"
    ):
        data(tmp_path, row).labelled("train")
