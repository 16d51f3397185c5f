"""Sets of prompts: what each says of them, and that none is taken for harmful without a statement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from csrlhf.data.public.harmbench import HarmBench
from csrlhf.data.public.or_bench import OrBench
from csrlhf.data.public.strongreject import StrongReject
from csrlhf.data.public.toxic_chat import ToxicChat
from csrlhf.data.public.wildjailbreak import WildJailbreak
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, PromptRow

HARMFUL = {"category": "harmful", "harmful": True}
ALIKE = {"category": "keyword_alike", "harmful": False}
JAILBREAKS = [
    {"vanilla": "a", "adversarial": None, "completion": "no.", "data_type": "vanilla_harmful"},
    {"vanilla": "b", "adversarial": None, "completion": "yes.", "data_type": "vanilla_benign"},
    {"vanilla": "c", "adversarial": "pretend c", "completion": "no!", "data_type": "adversarial_harmful"},
    {"vanilla": "d", "adversarial": "pretend d", "completion": "yes!", "data_type": "adversarial_benign"},
]


def data(adapter: Any, folder: Path, *rows: dict[str, Any], **options: Any) -> Any:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = adapter(test=str(path), **options)
    assert isinstance(source, DataSource)
    return source


@pytest.mark.parametrize(("harmless", "meta"), [(True, ALIKE), (False, HARMFUL)])
def test_or_bench_is_what_the_config_says(tmp_path: Path, harmless: bool, meta: dict[str, Any]) -> None:
    source = data(OrBench, tmp_path, {"prompt": "how to kill time?", "category": "violence"}, harmless=harmless)
    assert source.prompts("test") == [PromptRow("how to kill time?", meta | {"harm": "violence"})]


@pytest.mark.parametrize("options", [{}, {"harmless": "yes"}])
def test_or_bench_without_a_statement_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"data.harmless=(null|yes): .* set data.harmless=true for or-bench-80k"):
        data(OrBench, tmp_path, {"prompt": "how to kill time?", "category": "violence"}, **options)


def test_harmbench(tmp_path: Path) -> None:
    rows = [
        {"Behavior": "do a", "FunctionalCategory": "standard", "SemanticCategory": "illegal", "BehaviorID": "a1"},
        {
            "Behavior": "do b",
            "FunctionalCategory": "contextual",
            "SemanticCategory": "illegal",
            "ContextString": "b is.",
        },
        {"prompt": "do c", "category": "illegal", "context": "c is."},
    ]
    assert data(HarmBench, tmp_path, *rows).prompts("test") == [
        PromptRow("do a", HARMFUL | {"harm": "illegal", "kind": "standard", "id": "a1"}),
        PromptRow("b is.\n\n---\n\ndo b", HARMFUL | {"harm": "illegal", "kind": "contextual"}),
        PromptRow("c is.\n\n---\n\ndo c", HARMFUL | {"harm": "illegal"}),
    ]


def test_strongreject(tmp_path: Path) -> None:
    rows = {"forbidden_prompt": "do a", "category": "Violence", "source": "x"}, {"prompt": "do b", "category": "Fraud"}
    assert data(StrongReject, tmp_path, *rows).prompts("test") == [
        PromptRow("do a", HARMFUL | {"harm": "Violence"}),
        PromptRow("do b", HARMFUL | {"harm": "Fraud"}),
    ]


def test_toxic_chat(tmp_path: Path) -> None:
    rows = [
        {"user_input": "a", "model_output": "x", "toxicity": 1, "jailbreaking": 1},
        {"user_input": "b", "model_output": "x", "toxicity": 0, "jailbreaking": 0},
        {"user_input": "c", "model_output": "x", "toxicity": 0},
    ]
    source = data(ToxicChat, tmp_path, *rows)
    assert source.prompts("test") == [
        PromptRow("a", HARMFUL | {"attack": "jailbreak"}),
        PromptRow("b", {"category": "benign", "harmful": False, "attack": "plain"}),
        PromptRow("c", {"category": "benign", "harmful": False}),
    ]
    with pytest.raises(UserError, match=r"data=toxic_chat has no labelled responses: its columns serve prompts"):
        source.labelled("test")


def test_wildjailbreak(tmp_path: Path) -> None:
    source = data(WildJailbreak, tmp_path, *JAILBREAKS)
    assert source.prompts("test") == [
        PromptRow("a", HARMFUL | {"attack": "plain"}),
        PromptRow("b", ALIKE | {"attack": "plain"}),
        PromptRow("pretend c", HARMFUL | {"attack": "adversarial"}),
        PromptRow("pretend d", ALIKE | {"attack": "adversarial"}),
    ]
    assert source.demonstrations("test")[2] == DemonstrationRow("pretend c", "no!")


def test_wildjailbreak_as_it_is_published(tmp_path: Path) -> None:
    """Tabs between the cells, empty ones where a row is no jailbreak; the evaluation split has no completions."""
    cells = ["\t".join(str(row[column] or "") for column in JAILBREAKS[0]) for row in JAILBREAKS]
    (tmp_path / "train.tsv").write_text("\n".join(["\t".join(JAILBREAKS[0]), *cells]), encoding="utf-8")
    (tmp_path / "eval.tsv").write_text("adversarial\tlabel\tdata_type\npretend e\t1\tadversarial_harmful\n")
    source = WildJailbreak(str(tmp_path / "train.tsv"), test=str(tmp_path / "eval.tsv"))
    assert [row.response for row in source.demonstrations("train")] == ["no.", "yes.", "no!", "yes!"]
    assert source.prompts("test") == [PromptRow("pretend e", HARMFUL | {"attack": "adversarial"})]


def test_the_hub_is_asked_for_tabs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def load(*names: str, **options: Any) -> Any:
        asked.append((names, options))
        return datasets.Dataset.from_list(JAILBREAKS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = WildJailbreak("allenai/wildjailbreak/train:train")
    assert len(source.prompts("train")) == 4
    assert len(source.hashes()["train"]) == 64
    options = {"split": "train", "delimiter": "\t", "keep_default_na": False}
    assert asked == [(("allenai/wildjailbreak", "train"), options)] * 2


@pytest.mark.parametrize(
    ("adapter", "row", "complaint"),
    [
        (HarmBench, {"Behavior": "a"}, "the column SemanticCategory is missing or empty"),
        (StrongReject, {"forbidden_prompt": "", "category": "x"}, "forbidden_prompt is empty"),
        (ToxicChat, {"user_input": "a", "toxicity": "1"}, "toxicity is '1': it must be 0 or 1"),
        (
            WildJailbreak,
            {"vanilla": "a", "data_type": "benign"},
            "data_type is 'benign': it must be one of vanilla_harmful",
        ),
        (WildJailbreak, {"vanilla": "a", "data_type": "adversarial_harmful"}, "the column adversarial is missing"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(
    tmp_path: Path, adapter: Any, row: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError) as caught:
        data(adapter, tmp_path, row).prompts("test")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:1: ")
    assert complaint in str(caught.value)
