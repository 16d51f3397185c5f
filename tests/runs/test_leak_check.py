"""Leaks between the data of stages: which splits are compared, what a leak does, and what cannot be compared."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.source import MissingRowsError
from csrlhf.data.toy.source import ToyData
from csrlhf.errors import InputWarning, UserError
from csrlhf.runs import artifacts
from csrlhf.runs.leak_check import check_leaks
from csrlhf.runs.stages.base import made_by


@pytest.fixture(autouse=True)
def no_other_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., str]:
    """``table("train", "how?", "why?")``: a file with these prompts."""

    def write(name: str, *prompts: str) -> str:
        rows = [{"prompt": prompt, "response": "so.", "label": "Safe"} for prompt in prompts]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(tmp_path / f"{name}.jsonl")

    return write


@pytest.fixture
def result(tmp_path: Path) -> Callable[..., str]:
    """``result("cost", train=file)``: a folder that says it was trained on these files."""

    def write(stage: str, inputs: dict[str, str] | None = None, **files: Any) -> str:
        folder = tmp_path / "artifacts" / stage
        folder.mkdir(parents=True)
        data = {"_target_": "csrlhf.data.jsonl.JsonlData", **files}
        links = {name: {"path": path, "fingerprint": "a"} for name, path in (inputs or {}).items()}
        record = {"fingerprint": "a" * 64, "stage": stage, "config": {"data": data}, "inputs": links}
        artifacts.write_json(folder / artifacts.RECORD, record)
        return str(folder)

    return write


def leaks(
    stage: str, source: Any, inputs: dict[str, str] | None = None, config: dict[str, Any] | None = None
) -> list[str]:
    """The messages of all leaks."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_leaks("warn", stage, source, inputs or {}, config)
    assert all(issubclass(one.category, InputWarning) for one in told)
    return [str(one.message) for one in told]


@pytest.mark.parametrize("stage", ["sft", "cost"])
def test_validation_is_compared_with_training(table: Callable, stage: str) -> None:
    source = JsonlData(table("train", "How?", "Why?"), table("validation", "Who?", "HOW"))
    [message] = leaks(stage, source)
    assert message.startswith(
        f"1 of 2 validation prompts of stage={stage} are among the train prompts of stage={stage} (1 equal, 0 nearly): "
        "'HOW' ("
    )
    assert "validation.jsonl:2) is " in message
    assert message.endswith("train.jsonl:1. Figures on them will be too good: split by prompt")


def test_test_prompts_are_compared_with_validation_as_well(table: Callable) -> None:
    source = JsonlData(table("train", "a"), table("validation", "b"), table("test", "A", "B", "c"))
    assert [message[: message.index(" of stage")] for message in leaks("cost", source)] == [
        "1 of 3 test prompts",
        "1 of 3 test prompts",
    ]


def test_an_earlier_stage_knows_its_training_prompts_and_chose_by_its_validation_prompts(
    table: Callable, result: Callable
) -> None:
    inputs = {
        "cost": result("cost", train=table("labels", "a", "x"), validation=table("labels_v", "b", "y")),
        "sft": result("sft", train=table("demos", "c")),
    }
    evaluated = JsonlData(test=table("test", "a", "b", "c", "d"))
    found = leaks("evaluate", evaluated, inputs)
    assert [message[: message.index(" (")] for message in found] == [
        "1 of 4 test prompts of stage=evaluate are among the train prompts of stage=cost",
        "1 of 4 test prompts of stage=evaluate are among the validation prompts of stage=cost",
        "1 of 4 test prompts of stage=evaluate are among the train prompts of stage=sft",
    ]
    assert "test.jsonl:2) is " in found[1]
    assert "labels_v.jsonl:1" in found[1]


def test_validation_prompts_may_be_known_as_validation_prompts(table: Callable, result: Callable) -> None:
    shared = table("validation", "b")
    inputs = {"sft": result("sft", train=table("demos", "c"), validation=shared)}
    assert leaks("ppo", JsonlData(table("train", "c"), shared), inputs) == []


def test_what_an_input_was_built_on_counts_too_and_once(table: Callable, result: Callable) -> None:
    sft = result("sft", train=table("demos", "a"))
    inputs = {"sft": result("ppo", train=table("prompts", "b"), inputs={"sft": sft}), "cost": sft}
    found = leaks("evaluate", JsonlData(test=table("test", "a")), inputs)
    assert [message[: message.index(" (")] for message in found] == [
        "1 of 1 test prompts of stage=evaluate are among the train prompts of stage=sft"
    ]


@pytest.mark.parametrize(("coef", "expected"), [(0.0, 0), (0.3, 1)])
def test_the_demonstrations_of_a_ptx_loss_are_training_data(table: Callable, coef: float, expected: int) -> None:
    """A source whose prompts differ from its demonstrations: only the latter are known to the validation split."""

    class Two(JsonlData):
        def prompts(self, split: Any) -> list[Any]:
            return [row for row in super().prompts(split) if split != "train" or row.prompt != "b"]

    source = Two(table("train", "a", "b"), table("validation", "b"))
    assert len(leaks("ppo", source, config={"ppo": {"ptx_coef": coef}})) == expected


def test_a_policy_trained_with_a_ptx_loss_knows_its_demonstrations(
    table: Callable, result: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(result("ppo", train=table("train", "a", "b")))
    prompts = JsonlData.prompts
    monkeypatch.setattr(
        JsonlData, "prompts", lambda self, split: [row for row in prompts(self, split) if split != "train"]
    )
    evaluated = JsonlData(test=table("test", "b"))
    assert leaks("evaluate", evaluated, {"ppo": str(folder)}) == []
    record = artifacts.read_record(folder)
    assert record is not None
    artifacts.write_json(folder / artifacts.RECORD, record | {"config": record["config"] | {"ppo": {"ptx_coef": 0.5}}})
    assert len(leaks("evaluate", evaluated, {"ppo": str(folder)})) == 1


def test_a_source_without_demonstrations_is_left_to_the_stage(table: Callable) -> None:
    class Without(JsonlData):
        def demonstrations(self, split: Any) -> list[Any]:
            raise MissingRowsError("none")

    source = Without(table("train", "a"), table("validation", "b"))
    assert leaks("ppo", source, config={"ppo": {"ptx_coef": 0.5}}) == []


def test_a_leak_can_be_an_error_or_nothing(table: Callable) -> None:
    source = JsonlData(table("train", "how"), table("validation", "how"))
    with pytest.raises(UserError, match=r"1 of 1 validation prompts .*split by prompt, or set leaks=warn"):
        check_leaks("error", "cost", source, {})
    check_leaks("ignore", "cost", source, {})
    with pytest.raises(UserError, match="leaks=stop: must be one of error, warn, ignore"):
        check_leaks("stop", "cost", source, {})


def test_a_generated_world_is_left_alone(table: Callable, result: Callable) -> None:
    sizes = {kind: {"train": 20, "validation": 20, "test": 20} for kind in ("labelled", "prompts")}
    assert leaks("cost", ToyData(sizes=sizes)) == []


def test_data_that_is_gone_is_said_not_to_be_compared(table: Callable, result: Callable, tmp_path: Path) -> None:
    inputs = {"sft": result("sft", train=table("demos", "a"))}
    (tmp_path / "demos.jsonl").unlink()
    [message] = leaks("evaluate", JsonlData(test=table("test", "a")), inputs)
    assert message.startswith("leaks: stage=sft's data cannot be compared: data.train: there is no file ")


@pytest.mark.parametrize("path", ["Qwen/Qwen2.5-0.5B", "model"])
def test_models_from_elsewhere_are_passed_over(table: Callable, tmp_path: Path, path: str) -> None:
    (tmp_path / "model").mkdir()
    assert leaks("evaluate", JsonlData(test=table("test", "a")), {"sft": str(tmp_path / path)}) == []


def test_the_command_line_stops_before_training(command_line: Callable, table: Callable, tmp_path: Path) -> None:
    words = [f"data.train={table('train', 'how', 'why')}", f"data.validation={table('validation', 'how')}"]
    words += ["model=minilm", "logger=none", f"artifacts={tmp_path / 'a'}"]
    outcome = command_line("stage=cost", "data=jsonl", *words, "leaks=error")
    assert outcome.code == 1
    assert outcome.err.startswith(
        "error: 1 of 1 validation prompts of stage=cost are among the train prompts of stage=cost"
    )
    assert not (tmp_path / "a" / "cost").exists()


def test_every_stage_of_the_pipeline_is_known(repository: Path) -> None:
    stages = {path.stem: made_by(path.stem, {}) for path in (repository / "conf" / "stage").glob("*.yaml")}
    # certify has a check of its own (data/leaks.py), decode reads no rows of the data.
    assert {name for name, stage in stages.items() if stage.reads} == {*stages} - {
        "pipeline",
        "data",
        "certify",
        "decode",
    }
