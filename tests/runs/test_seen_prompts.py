"""Records of what was seen: where they are written, who finds them, and what they survive."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.seen import CERTIFY, COST_MODEL, EVALUATE, Look, Seen, prompt_hashes
from csrlhf.models.loading import model_hash
from csrlhf.runs import artifacts
from csrlhf.runs.artifacts import SEEN_PROMPTS
from csrlhf.runs.seen_prompts import looks_at, record_seen

PROMPTS = ["a b", "c d"]


@pytest.fixture
def result(tmp_path: Path) -> Callable[..., Path]:
    """``result("artifacts/ppo/one", "ppo", "1", sft=folder)``: a stage's result with weights of its own."""

    def make(place: str, stage: str, digit: str, **inputs: Path) -> Path:
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(f"{stage} {digit}", encoding="utf-8")
        links = {
            name: {"path": str(path), "fingerprint": (artifacts.read_record(path) or {})["fingerprint"]}
            for name, path in inputs.items()
        }
        record = {"fingerprint": digit * 64, "stage": stage, "inputs": links, "config": {}}
        artifacts.write_json(folder / artifacts.RECORD, record)
        return folder

    return make


@pytest.fixture
def family(result: Callable[..., Path], tmp_path: Path) -> dict[str, Path]:
    """Two policies from one start, and a third from another."""
    sft = result("artifacts/sft", "sft", "5")
    cost = result("artifacts/cost", "cost", "c", sft=sft)
    other = result("elsewhere/sft", "sft", "6")
    return {
        "root": tmp_path / "artifacts", "sft": sft, "cost": cost,
        "one": result("artifacts/ppo/one", "ppo", "1", sft=sft, cost=cost),
        "two": result("artifacts/ppo/two", "ppo", "2", sft=sft, cost=cost),
        "stranger": result("elsewhere/ppo/three", "ppo", "3", sft=other),
    }  # fmt: skip


def evaluated(*folders: Path, root: Path, kind: str = EVALUATE, prompts: list[str] = PROMPTS) -> None:
    seen = Seen(kind, {folder.name: str(folder) for folder in folders}, prompts, "plain")  # type: ignore[arg-type]  # texts
    record_seen(root, root / kind / "run", seen)


def found(root: Path | None, policy: Path | str, *costs: Path) -> list[Look]:
    looks, broken = looks_at(root, str(policy), [str(cost) for cost in costs])
    assert not broken
    return looks


def test_it_is_found_by_every_way_that_leads_to_the_policy(family: dict[str, Path], tmp_path: Path) -> None:
    evaluated(family["one"], root=family["root"])
    [look] = found(family["root"], family["one"])
    assert (look.kind, look.prompts, list(look.models.values())) == (EVALUATE, prompt_hashes(PROMPTS), ["one"])
    assert look.place.endswith("artifacts/evaluate/run")
    assert len(look.created) == len("2026-01-31T12:00:00.000+00:00")
    assert found(None, family["one"]) == [look]  # the policy's folder
    shutil.rmtree(family["one"] / SEEN_PROMPTS)
    assert found(None, family["one"]) == [look]  # the artifacts folder that it lies in
    shutil.rmtree(family["root"] / SEEN_PROMPTS)
    assert found(None, family["one"]) == [look]  # the start that it was trained from


def test_a_copy_is_the_same_policy_wherever_it_lies(family: dict[str, Path], tmp_path: Path) -> None:
    before = shutil.copytree(family["one"], tmp_path / "copied before")
    evaluated(family["one"], root=family["root"])
    after = shutil.copytree(family["one"], tmp_path / "copied after")
    shutil.rmtree(family["sft"])
    assert found(family["root"], before)
    assert found(tmp_path / "new", after)
    (after / artifacts.RECORD).unlink()  # known by its weights
    shutil.rmtree(after / SEEN_PROMPTS)
    assert found(family["root"], after)


def test_a_copy_that_was_evaluated_tells_of_the_original(family: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(family["one"], tmp_path / "copy")
    evaluated(copy, root=tmp_path / "their artifacts")
    assert found(family["root"], family["one"])  # by the start that both know


def test_policies_from_the_same_start_are_one_family_and_others_are_not(family: dict[str, Path]) -> None:
    evaluated(family["one"], root=family["root"])
    assert found(family["root"], family["two"])
    assert found(family["root"], family["sft"])
    assert not found(family["root"], family["stranger"])
    evaluated(family["stranger"], root=family["root"])
    assert len(found(family["root"], family["one"])) == 1


def test_a_read_only_policy_is_in_the_artifacts_record(
    family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.mkdir

    def mkdir(self: Path, *args: Any, **options: Any) -> None:  # a test may run as root, whom no mode stops
        if family["one"] in self.parents or family["sft"] in self.parents:
            raise PermissionError(30, "Read-only file system", str(self))
        original(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    evaluated(family["one"], root=family["root"])
    assert not (family["one"] / SEEN_PROMPTS).exists()
    assert found(family["root"], family["one"])


def test_the_same_again_keeps_its_first_time_and_two_at_once_are_two(family: dict[str, Path]) -> None:
    evaluated(family["one"], root=family["root"])
    [first] = found(family["root"], family["one"])
    evaluated(family["one"], root=family["root"])
    assert found(family["root"], family["one"]) == [first]
    sets = [[f"prompt {i}"] for i in range(8)]
    workers = [
        threading.Thread(target=evaluated, args=[family["two"]], kwargs={"root": family["root"], "prompts": prompts})
        for prompts in sets
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {look.prompts for look in found(family["root"], family["two"])} == {
        prompt_hashes(PROMPTS),
        *(prompt_hashes(prompts) for prompts in sets),
    }


def test_a_policy_that_is_made_again_has_been_seen_all_the_same(family: dict[str, Path]) -> None:
    evaluated(family["one"], root=family["root"])
    record = artifacts.read_record(family["one"])

    def write(folder: Path) -> None:
        artifacts.write_json(folder / artifacts.RECORD, record)

    artifacts.publish(family["one"], write)
    assert list((family["one"] / SEEN_PROMPTS).glob("*.json"))


def test_a_record_changes_no_fingerprint(family: dict[str, Path], tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(family["one"], foreign)
    (foreign / artifacts.RECORD).unlink()
    before = artifacts.fingerprint_of(str(foreign)), model_hash(foreign)
    evaluated(foreign, root=family["root"])
    assert not (foreign / SEEN_PROMPTS).exists()  # somebody else's folder is left alone
    shutil.copytree(family["root"] / SEEN_PROMPTS, foreign / SEEN_PROMPTS)
    assert (artifacts.fingerprint_of(str(foreign)), model_hash(foreign)) == before
    assert found(family["root"], foreign)


def test_kept_responses_are_known_by_their_fingerprints(family: dict[str, Path]) -> None:
    record_seen(family["root"], family["root"] / "evaluate", Seen(EVALUATE, {"mine": "1" * 64}, PROMPTS, "plain"))  # type: ignore[arg-type]  # texts
    assert found(family["root"], family["one"])
    assert not found(family["root"], family["stranger"])


def test_a_threshold_is_its_cost_models_own(family: dict[str, Path], result: Callable[..., Path]) -> None:
    another = result("artifacts/another", "cost", "d", sft=family["sft"])
    evaluated(family["cost"], root=family["root"], kind=COST_MODEL)
    [look] = found(family["root"], family["one"], family["cost"])
    assert look.kind == COST_MODEL
    assert not found(family["root"], family["one"], another)  # built on the same policy, and yet another one
    assert not found(family["root"], family["sft"])


def test_a_broken_record_is_told_and_no_other_is_lost(family: dict[str, Path]) -> None:
    evaluated(family["one"], root=family["root"], kind=CERTIFY)
    shutil.rmtree(family["one"] / SEEN_PROMPTS)
    for name, text in (("a.json", "{"), ("b.json", "[]"), ("c.json", json.dumps({"kind": "evaluate"}))):
        (family["root"] / SEEN_PROMPTS / name).write_text(text, encoding="utf-8")
    looks, broken = looks_at(family["root"], str(family["one"]), [])
    assert len(looks) == 1
    assert [words.partition(" cannot be read")[0][-6:] for words in broken] == ["a.json", "b.json", "c.json"]
