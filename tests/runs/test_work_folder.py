"""The working folder: emptied for a new run, kept for one that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrlhf.runs import artifacts
from csrlhf.runs.plan import Plan
from csrlhf.runs.work_folder import last_checkpoint, leaves_something, prepare_work


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        stage="sft", folder=tmp_path / "sft", work=tmp_path / "work", fingerprint="a" * 64, inputs={},
        input_fingerprints={}, data={},
    )  # fmt: skip


def test_a_new_run_starts_in_an_empty_folder(plan: Plan) -> None:
    for path in (last_checkpoint(plan), plan.work / artifacts.KEPT / "answers-0.jsonl"):
        path.parent.mkdir(parents=True)
        path.touch()
    assert leaves_something(plan)
    assert prepare_work(plan, resume=False) is None
    assert list(plan.work.iterdir()) == []
    assert not leaves_something(plan)


def test_a_run_goes_on_from_a_checkpoint(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare_work(plan, resume=True) is None
    assert "no checkpoint of these settings, starting at the beginning" in capsys.readouterr().out
    last_checkpoint(plan).parent.mkdir()
    last_checkpoint(plan).touch()
    assert prepare_work(plan, resume=True) == str(last_checkpoint(plan))
    assert "sft: resuming from" in capsys.readouterr().out


def test_what_is_kept_stays_though_there_is_no_checkpoint(plan: Plan) -> None:
    (plan.work / artifacts.KEPT).mkdir(parents=True)
    assert leaves_something(plan)
    assert prepare_work(plan, resume=True) is None
    assert (plan.work / artifacts.KEPT).is_dir()


def test_another_process_leaves_the_folder_alone(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csrlhf.runs.work_folder.is_first_process", lambda: False)
    last_checkpoint(plan).parent.mkdir(parents=True)
    last_checkpoint(plan).touch()
    assert prepare_work(plan, resume=False) is None
    assert last_checkpoint(plan).exists()
