"""Commands, and the records by which finished ones are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks.comparison.jobs import Folders, assign
from benchmarks.comparison.settings import Setting
from csrlhf.sweeping.pool import unfinished

SETTING = Setting("plain-x2", "hinge", ("penalty=rectified", "penalty.multiplier=3"))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "out", tmp_path / "base", ("experiment=smoke",))


def test_a_run_reads_the_models_of_its_seed(folders: Folders) -> None:
    ppo, handed_over, last = folders.run(SETTING, 1)
    words = ppo.words()
    assert {"stage=ppo", "seed=1", "name=plain-x2", "resume=true", "experiment=smoke", *SETTING.overrides} <= set(words)
    for stage in ("sft", "reward", "cost"):
        assert assign(f"inputs.{stage}", folders.base / "seed1" / stage) in words
    assert assign("inputs.ppo", folders.out / "seed1/ppo/plain-x2") in handed_over.words()
    assert assign("inputs.ppo", folders.out / "seed1/ppo/plain-x2/last") in last.words()
    assert "name=plain-x2-last" in last.words()
    assert len({job.result for job in (ppo, handed_over, last)}) == 3


def test_a_pairwise_run_reads_another_cost_model_of_the_same_sft(folders: Folders) -> None:
    sft, reward, semantic, pairwise = folders.models(1, ["semantic", "pairwise"])
    assert [job.stage for job in (sft, reward, semantic, pairwise)] == ["sft", "reward", "cost", "cost"]
    assert "cost.loss=pairwise" in pairwise.words()
    assert assign("inputs.sft", sft.result) in pairwise.words()
    assert pairwise.result != semantic.result
    ppo = folders.run(Setting("p", "x", (), cost_loss="pairwise"), 1)[0]
    assert assign("inputs.cost", pairwise.result) in ppo.words()
    assert assign("inputs.reward", reward.result) in ppo.words()


def test_finished_is_what_has_a_result_and_a_record_of_the_same_overrides(folders: Folders, stages: Any) -> None:
    job = folders.run(SETTING, 1)[0]
    stages(job, 1)
    assert not job.done()  # a result without a record: nobody knows what made it
    job.finish(12.0, 1)
    assert job.done()
    other = Setting("plain-x2", "hinge", ("penalty=rectified", "penalty.multiplier=4"))
    assert not folders.run(other, 1)[0].done()
    content = json.loads(job.record.read_text())
    job.record.write_text(json.dumps(content | {"version": "0.0.0"}))
    assert not job.done()
    job.finish(12.0, 1)
    (job.result / "metrics.json").unlink()
    assert not job.done()


def test_a_moved_folder_stays_finished(tmp_path: Path, stages: Any) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for job in Folders(here, here).run(SETTING, 1):
        stages(job, 1)
        job.finish(1.0, 1)
    here.rename(there)
    assert unfinished(Folders(there, there).run(SETTING, 1)) == []


def test_what_follows_an_unfinished_command_is_made_again(folders: Folders, stages: Any) -> None:
    ppo, handed_over, last = folders.run(SETTING, 1)
    for job in (ppo, handed_over, last):
        stages(job, 1)
        job.finish(1.0, 1)
    handed_over.record.unlink()
    assert unfinished([ppo, handed_over, last]) == [handed_over, last]


def test_the_last_policy_is_not_judged_twice_where_it_is_the_best(folders: Folders, stages: Any) -> None:
    for seed, same in ((0, True), (1, False)):
        ppo, _, last = folders.run(SETTING, seed)
        assert not last.needless()  # nothing there yet
        stages(ppo, 1)
        assert bool(last.needless()) is same


@pytest.mark.parametrize("path", ["/a b/it's, [x=1]", "/a\\b", "/a\\'b", "/a\\"])
def test_any_path_can_be_assigned(path: str) -> None:
    parsed = OverridesParser.create().parse_override(assign("artifacts", Path(path)))
    assert parsed.value() == path
