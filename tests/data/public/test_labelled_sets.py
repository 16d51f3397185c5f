"""WildGuardMix, Aegis 2 and Do-Not-Answer: labelled responses and prompts, and rows that say only part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.public.aegis import Aegis
from csrlhf.data.public.do_not_answer import DoNotAnswer
from csrlhf.data.public.wildguardmix import WildGuardMix
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PromptRow

GUARD = {
    "prompt": "how to rob?",
    "adversarial": True,
    "response": "I will not.",
    "prompt_harm_label": "harmful",
    "response_harm_label": "unharmful",
    "response_refusal_label": "refusal",
    "subcategory": "violence_and_physical_harm",
}
GUARD_ALONE = GUARD | {"prompt": "how to cook?", "adversarial": False, "response": None, "response_harm_label": None}
AEGIS = {
    "prompt": "how to rob?",
    "response": "With a mask.",
    "prompt_label": "unsafe",
    "response_label": "unsafe",
    "violated_categories": "Criminal Planning/Confessions, Violence",
}
ANSWERS = {
    "question": "Who is the worst?",
    "risk_area": "Discrimination",
    "types_of_harm": "Stereotypes",
    "GPT4_response": "Nobody.",
    "GPT4_harmful": 0,
    "GPT4_action": 1,
    "vicuna-7b_response": "They are.",
    "vicuna-7b_harmful": 1,
    "vicuna-7b_action": 5,
}


def data(adapter: Any, folder: Path, *rows: dict[str, Any], **options: Any) -> Any:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return adapter(train=str(path), **options)


def test_wildguardmix(tmp_path: Path) -> None:
    unsafe = GUARD | {"response": "Wear a mask.", "response_harm_label": "harmful"}
    source = data(WildGuardMix, tmp_path, GUARD, unsafe, GUARD_ALONE | {"prompt_harm_label": "unharmful"})
    assert isinstance(source, DataSource)
    category = {"category": "violence_and_physical_harm"}
    assert source.labelled("train") == [
        LabelledRow("how to rob?", "I will not.", (0.0,), category),
        LabelledRow("how to rob?", "Wear a mask.", (1.0,), category),
    ]
    assert source.demonstrations("train") == [DemonstrationRow("how to rob?", "I will not.")]
    harm = {"harm": "violence_and_physical_harm"}
    assert source.prompts("train") == [
        PromptRow("how to rob?", {"category": "harmful", "harmful": True, "attack": "adversarial", **harm}),
        PromptRow("how to cook?", {"category": "benign", "harmful": False, "attack": "plain", **harm}),
    ]


def test_labels_that_nobody_agreed_on_are_left_out_and_counted(tmp_path: Path) -> None:
    source = data(WildGuardMix, tmp_path, GUARD, GUARD | {"response_harm_label": None})
    with pytest.warns(
        UserWarning, match=r"1 of 2 rows are left out; .*:2: nobody says whether the response is harmful"
    ):
        assert len(source.labelled("train")) == 1
    source = data(WildGuardMix, tmp_path, GUARD, GUARD_ALONE | {"prompt_harm_label": None})
    with pytest.warns(UserWarning, match=r"1 of 2 rows are left out; .*:2: nobody says whether the prompt is harmful"):
        assert len(source.prompts("train")) == 1


def test_aegis(tmp_path: Path) -> None:
    safe = {"prompt": "how to cook?", "response": "With fire.", "prompt_label": "safe", "response_label": "safe"}
    alone = {"prompt": "hi", "response": "", "prompt_label": "safe", "response_label": None, "violated_categories": ""}
    source = data(Aegis, tmp_path, AEGIS, safe, alone, AEGIS | {"prompt": "REDACTED"})
    assert isinstance(source, DataSource)
    with pytest.warns(UserWarning, match=r"1 of 4 rows are left out; .*:4: the prompt is REDACTED"):
        assert source.labelled("train") == [
            LabelledRow("how to rob?", "With a mask.", (1.0,), {"category": "criminal_planning_confessions"}),
            LabelledRow("how to cook?", "With fire.", (0.0,), {"category": "safe"}),
        ]
    assert source.demonstrations("train") == [DemonstrationRow("how to cook?", "With fire.")]
    assert source.prompts("train")[:2] == [
        PromptRow("how to rob?", {"category": "harmful", "harmful": True, "harm": "criminal_planning_confessions"}),
        PromptRow("how to cook?", {"category": "benign", "harmful": False}),
    ]


def test_do_not_answer(tmp_path: Path) -> None:
    source = data(DoNotAnswer, tmp_path, ANSWERS, {"question": "Why?", "GPT4_response": "So.", "GPT4_harmful": None})
    assert isinstance(source, DataSource)
    category = {"category": "Discrimination"}
    assert source.labelled("train") == [
        LabelledRow("Who is the worst?", "Nobody.", (0.0,), category),
        LabelledRow("Who is the worst?", "They are.", (1.0,), category),
    ]
    assert source.demonstrations("train") == [DemonstrationRow("Who is the worst?", "Nobody.")]
    known = {"harm": "Discrimination", "kind": "Stereotypes"}
    assert source.prompts("train")[0] == PromptRow(
        "Who is the worst?", {"category": "harmful", "harmful": True, **known}
    )
    assert source.prompts("train")[1].meta == {"category": "harmful", "harmful": True}


@pytest.mark.parametrize(
    ("adapter", "row", "change", "complaint"),
    [
        (
            WildGuardMix,
            GUARD,
            {"response_harm_label": "bad"},
            "response_harm_label is 'bad': it must be one of harmful",
        ),
        (WildGuardMix, GUARD, {"response": " "}, "response is empty"),
        (Aegis, AEGIS, {"response_label": 1}, "response_label is 1: it must be one of unsafe, safe"),
        (Aegis, AEGIS, {"response_label": None}, "the column response_label is missing or empty"),
        (DoNotAnswer, ANSWERS, {"GPT4_harmful": 2}, "GPT4_harmful is 2: it must be 0 or 1"),
        (DoNotAnswer, ANSWERS, {"question": ""}, "question is empty"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(
    tmp_path: Path, adapter: Any, row: dict[str, Any], change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError) as caught:
        data(adapter, tmp_path, row, row | change).labelled("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(("adapter", "row"), [(WildGuardMix, GUARD), (Aegis, AEGIS), (DoNotAnswer, ANSWERS)])
def test_several_constraints_are_refused(tmp_path: Path, adapter: Any, row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"data.constraints=\['harm', 'privacy'\]: data=\w+ has one label"):
        data(adapter, tmp_path, row, constraints=["harm", "privacy"])
