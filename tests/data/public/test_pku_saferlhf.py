"""PKU-SafeRLHF's columns: every kind of row, harm categories as constraints, and what is wrong with a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.public.pku_saferlhf import PkuSafeRlhf
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

CATEGORIES = {"Privacy Violation": False, "Violence": False, "White-Collar Crime": False}
ROW: dict[str, Any] = {
    "prompt": "May I read my neighbour's post?",
    "response_0": "No, it is theirs.",
    "response_1": "Sure, hold the envelope against a lamp.",
    "prompt_source": "own",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "response_0_harm_category": CATEGORIES,
    "response_1_harm_category": CATEGORIES | {"Privacy Violation": True},
    "response_0_severity_level": 0,
    "response_1_severity_level": 2,
    "better_response_id": 1,
    "safer_response_id": 0,
}
SAFER = {"better_response_id": 0}


def data(folder: Path, *rows: Any, **options: Any) -> PkuSafeRlhf:
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PkuSafeRlhf(train=str(folder / "x.jsonl"), **options)


def test_both_responses_are_labelled_with_their_category(tmp_path: Path) -> None:
    source = data(tmp_path, ROW)
    assert isinstance(source, DataSource)
    assert source.labelled("train") == [
        LabelledRow(ROW["prompt"], ROW["response_0"], (0.0,), {"category": "safe"}),
        LabelledRow(ROW["prompt"], ROW["response_1"], (1.0,), {"category": "privacy_violation"}),
    ]
    assert source.prompts("train") == [PromptRow(ROW["prompt"])]


def test_preferences_are_by_helpfulness_or_by_safety(tmp_path: Path) -> None:
    safe_first = PreferenceRow(ROW["prompt"], ROW["response_0"], ROW["response_1"])
    unsafe_first = PreferenceRow(ROW["prompt"], ROW["response_1"], ROW["response_0"])
    assert data(tmp_path, ROW).preferences("train") == [unsafe_first]
    assert data(tmp_path, ROW, preference="safer").preferences("train") == [safe_first]
    with pytest.raises(UserError, match=r"data.preference=safest: must be better or safer"):
        data(tmp_path, ROW, preference="safest")


def test_the_better_response_is_imitated_if_it_is_safe(tmp_path: Path) -> None:
    assert data(tmp_path, ROW, ROW | SAFER).demonstrations("train") == [
        DemonstrationRow(ROW["prompt"], ROW["response_0"])
    ]
    with pytest.raises(UserError, match="holds no demonstrations"):
        data(tmp_path, ROW).demonstrations("train")


def test_categories_are_constraints_in_the_order_asked_for(tmp_path: Path) -> None:
    rows = data(tmp_path, ROW, constraints=["violence", "harm", "privacy_violation", "white_collar_crime"])
    assert [row.unsafe for row in rows.labelled("train")] == [(0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 1.0, 0.0)]


def test_without_categories_harm_alone_can_be_labelled(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if "category" not in key}
    assert [r.meta for r in data(tmp_path, row).labelled("train")] == [{}, {}]
    with pytest.raises(UserError, match=r":1: data.constraints names violence, .* the row has no categories"):
        data(tmp_path, row, constraints=["violence"]).labelled("train")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"is_response_1_safe": 1}, "is_response_1_safe is 1: it must be true or false"),
        ({"response_1": ROW["response_0"]}, "the two responses are the same and their labels differ"),
        ({"better_response_id": 2}, "better_response_id is 2: it must be 0 or 1"),
        ({"response_0": ""}, "response_0 is empty"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"response_1_harm_category": ["Violence"]}, "must be an object with true or false for each name"),
        ({"response_1_harm_category": {"Violence": 1}}, "must be an object with true or false for each name"),
        (
            {"is_response_1_safe": True},
            "the response is labelled safe, and the category privacy_violation is true: correct one of them",
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    source = data(tmp_path, ROW, ROW | change)
    kind = "preferences" if "better_response_id" in change else "labelled"
    with pytest.raises(UserError) as caught:
        getattr(source, kind)("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert complaint in str(caught.value)


def test_an_unknown_category_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        data(tmp_path, ROW, constraints=["privacy"]).labelled("train")
    assert "names privacy, which is no category here: use harm (any of them) or privacy_violation, violence," in str(
        caught.value
    )
