"""``stage=data`` through the command line: what it prints and writes, and its mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import InputWarning
from csrlhf.runs import artifacts

SMALL = "{demonstrations: {train: 30}, preferences: {train: 20}, labelled: {train: 40}, prompts: {train: 25}}"


def table(folder: Path, name: str, count: int, start: int = 0) -> str:
    rows = [
        {"prompt": f"question {i} ?", "response": "take it .", "label": ("Unsafe", "Safe")[i % 2]}
        for i in range(start, start + count)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / name)


def test_the_toy_world(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line(
        "stage=data", f"data.sizes={SMALL}", f"artifacts={tmp_path / 'a'}", "objective=data/train/labelled/rows"
    )
    assert outcome.code == 0, outcome.err
    assert "Rows by kind and split" in outcome.out
    assert outcome.out.count("  prompt  ") == 5
    assert max(len(line) for line in outcome.out.splitlines()) <= 80
    numbers = json.loads((tmp_path / "a" / "data.json").read_text(encoding="utf-8"))
    assert numbers["data/train/labelled/rows"] == 40
    assert numbers["data/train/prompts/tokens_max"] < numbers["data/train/demonstrations/tokens_max"]
    assert numbers["data/train/labelled/over_limit"] == 0


def test_ones_own_data_with_another_tokenizer(command_line: Callable, tmp_path: Path) -> None:
    words = [f"data.train={table(tmp_path, 'train.jsonl', 40)}", "data.validation=0.2", "model.score.max_tokens=9"]
    outcome = command_line("stage=data", "data=jsonl", "model=minilm", *words, f"artifacts={tmp_path}")
    assert outcome.code == 0, outcome.err
    numbers = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert numbers["data/train/labelled/rows"] + numbers["data/validation/labelled/rows"] == 40
    # MiniLM's pieces: [CLS] question 7 ? [SEP] take it . [SEP]
    assert numbers["data/train/labelled/tokens_median"] == 9
    assert "data/leaks/validation_in_train" not in numbers


def test_a_tokenizer_out_of_reach_leaves_words(command_line: Callable, tmp_path: Path) -> None:
    words = [f"data.train={table(tmp_path, 'train.jsonl', 8)}", f"model.policy.path={tmp_path / 'nowhere'}"]
    words += ["model.policy.architecture=null", "model.policy.tokenizer=null"]
    outcome = command_line("stage=data", "data=jsonl", *words, f"artifacts={tmp_path}")
    assert outcome.code == 0, outcome.err
    assert "Length of labelled responses in words (train)" in outcome.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["data=jsonl"], "set data.train=FILE"),
        (["data=csv", "data.train=nowhere.csv"], "data.train: there is no file nowhere.csv"),
    ],
)
def test_mistakes_are_one_line(command_line: Callable, tmp_path: Path, words: list[str], complaint: str) -> None:
    outcome = command_line("stage=data", *words, f"artifacts={tmp_path / 'a'}")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert complaint in outcome.err
    assert not (tmp_path / "a").exists()


def test_rows_left_out_are_a_warning_of_one_line(command_line: Callable, tmp_path: Path) -> None:
    path = Path(table(tmp_path, "train.jsonl", 8))
    path.write_text(path.read_text(encoding="utf-8") + '{"prompt": ""}\n', encoding="utf-8")
    with pytest.warns(
        InputWarning, match=r"data.train: 1 of 9 rows are left out; the first: .*train.jsonl:9: prompt is"
    ):
        outcome = command_line(
            "stage=data", "data=jsonl", f"data.train={path}", "data.bad_rows=skip", f"artifacts={tmp_path}"
        )
    assert outcome.code == 0


def test_results_that_stand_in_the_artifacts_folder_are_compared(command_line: Callable, tmp_path: Path) -> None:
    data = {"_target_": "csrlhf.data.jsonl.JsonlData", "train": table(tmp_path, "demos.jsonl", 8, start=100)}
    (tmp_path / "sft").mkdir()
    artifacts.write_json(tmp_path / "sft" / artifacts.RECORD, {"stage": "sft", "config": {"data": data}, "inputs": {}})
    files = [
        f"data.train={table(tmp_path, 'train.jsonl', 8)}",
        f"data.test={table(tmp_path, 'test.jsonl', 4, start=106)}",
    ]
    outcome = command_line("stage=data", "data=jsonl", *files, f"artifacts={tmp_path}")
    assert outcome.code == 0, outcome.err
    shown = " ".join(outcome.out.split())
    assert "1 of 4 test prompts are among the train prompts of stage=sft (1 equal, 0 nearly): 'question 107 ?'" in shown
    assert json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))["data/leaks/test_in_sft_train"] == 1


def test_turns_that_the_template_refuses_are_named_with_file_and_line(
    command_line: Callable, folders: Any, tmp_path: Path
) -> None:
    config = Path(folders.sft) / "tokenizer_config.json"
    policy = tmp_path / "strict"
    shutil.copytree(folders.sft, policy)
    for file in policy.glob("*.jinja"):
        file.unlink()
    fields = json.loads(config.read_text(encoding="utf-8"))
    refuses = "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}x"
    (policy / config.name).write_text(json.dumps(fields | {"chat_template": refuses}), encoding="utf-8")
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
    (tmp_path / "x.jsonl").write_text(f'{{"prompt": "a"}}\n{json.dumps({"prompt": turns})}\n', encoding="utf-8")
    words = ["stage=data", "data=jsonl", f"data.train={tmp_path / 'x.jsonl'}", f"artifacts={tmp_path / 'a'}"]
    outcome = command_line(*words, "model=pretrained", f"model.policy.path={policy}")
    assert outcome.code == 1
    assert "x.jsonl:2: the tokenizer's chat template refuses a conversation" in outcome.err
