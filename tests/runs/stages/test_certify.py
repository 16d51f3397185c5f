"""``stage=certify`` through the command line: from folders to a published certificate, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.evaluation.certificates.answering import Plain
from csrlhf.runs.leak_check import known_to

NEW = [f"{a} {b} c" for a in "abcd" for b in "efgh"]
TRAINED = ["j j j", "i i i"]


def write(path: Path, prompts: list[str]) -> Path:
    path.write_text("".join(f"{json.dumps({'prompt': prompt})}\n" for prompt in prompts), encoding="utf-8")
    return path


@pytest.fixture
def made(folders: Any, tmp_path: Path) -> Path:
    """An artifacts folder whose policy says that it was trained on ``TRAINED``; its cost model stands beside it."""
    data = {
        "_target_": "csrlhf.data.jsonl.JsonlData",
        "train": str(write(tmp_path / "train.jsonl", TRAINED)),
        "validation": str(write(tmp_path / "validation.jsonl", ["h h h"])),
    }
    shutil.copytree(folders.ppo, tmp_path / "artifacts" / "ppo" / "run")
    (tmp_path / "artifacts" / "ppo" / "latest").symlink_to("run")
    shutil.copytree(folders.cost, tmp_path / "artifacts" / "cost")
    from csrlhf.data.jsonl import JsonlData

    hashes = JsonlData(data["train"], data["validation"]).hashes()
    cost = {"stage": "cost", "fingerprint": "c" * 64, "inputs": {}, "data": {}, "config": {}}
    ppo = cost | {
        "stage": "ppo",
        "fingerprint": "p" * 64,
        "data": hashes,
        "config": {"data": data},
        "inputs": {"cost": {"path": "gone/cost", "fingerprint": "c" * 64}},
    }
    for name, record in (("cost", cost), ("ppo/run", ppo)):
        (tmp_path / "artifacts" / name / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


@pytest.fixture
def certify(made: Path, command_line: Callable[..., Any]) -> Callable[..., Any]:
    def call(prompts: Path, *words: str) -> Any:
        return command_line(
            "stage=certify", f"artifacts={made / 'artifacts'}", "logger=none", "data=jsonl", f"data.train={prompts}",
            f"certify.prompts={prompts}", "rollout.max_new_tokens=5", *words,
        )  # fmt: skip

    return call


def test_a_certificate_is_published_and_verified_by_a_second_call(certify: Callable[..., Any], made: Path) -> None:
    done = certify(write(made / "new.jsonl", [*NEW, "A e c!"]))
    assert done.code == 0, done.err
    folder = made / "artifacts" / "certify" / "run"
    names = {
        "certificate.json",
        "certificate.html",
        "answers.jsonl",
        "answers.about.json",
        "metrics.json",
        "csrlhf.json",
    }
    assert names | {"label_order.txt", "csrlhf.json"} <= {path.name for path in folder.iterdir()}
    first = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert (first["n"], first["prompts"]["repeated"]) == (16, 1)
    assert first["verdict"] in done.out
    assert first["untouched"]["compared"] == ["train prompts of stage=ppo (2)", "validation prompts of stage=ppo (1)"]
    assert first["untouched"]["unchecked"] == ["stage=cost's record names no data"]  # found beside the policy
    assert any("NOT checked: stage=cost" in words for words in first["assumptions"])
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["certify/harm/rate"] == first["constraints"]["harm"]["statements"][0]["value"]

    again = certify(made / "new.jsonl", "certify.prompts=null", f"certify.outputs={folder / 'answers.jsonl'}")
    assert again.code == 0, again.err
    second = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert second == first
    kept = [path for path in folder.parent.iterdir() if path.name.startswith("run.")]
    assert len(kept) == 1  # the first one stands beside the second


def test_a_certificate_of_best_of_n_is_carried_by_stage_decode(
    certify: Callable[..., Any], made: Path, folders: Any, command_line: Callable[..., Any]
) -> None:
    shared = [f"inputs.reward={folders.reward}", "decode.refusal=sorry"]
    done = certify(write(made / "new.jsonl", NEW), "certify=best_of_n", "certify.n=2", *shared)
    assert done.code == 0, done.err
    path = made / "artifacts" / "certify" / "run" / "certificate.json"
    certificate = json.loads(path.read_text(encoding="utf-8"))
    words = [
        "stage=decode", f"artifacts={made / 'artifacts'}", "rollout.max_new_tokens=5", "name=mine", *shared,
        f"decode.prompts={write(made / 'asked.jsonl', NEW[:3])}", f"decode.certificate={path}",
    ]  # fmt: skip
    given = command_line(*words, "decode.n=2")
    assert given.code == 0, given.err
    folder = made / "artifacts" / "decode" / "mine"
    carried = json.loads((folder / "csrlhf.json").read_text(encoding="utf-8"))["certificate"]
    assert carried["constraints"] == certificate["constraints"]
    assert carried["abstention"] == certificate["abstention"]
    lines = [json.loads(line) for line in (folder / "decoded.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["certificate"] for line in lines} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    refused = command_line(*words, "decode.n=4")
    assert refused.code == 1
    assert "certifies other responses than these (N 2, here 4)" in refused.err


def test_ctrl_c_keeps_what_was_answered(
    certify: Callable[..., Any], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, asked = Plain.answer, []

    def breaks(self: Plain, prompts: Any, device: Any) -> Any:
        if asked:
            raise KeyboardInterrupt
        asked.append(prompts.index_B.tolist())
        return original(self, prompts, device)

    path = write(made / "new.jsonl", NEW)
    monkeypatch.setattr(Plain, "answer", breaks)
    stopped = certify(path, "certify.batch_size=8")
    assert stopped.code == 130
    assert "certify: interrupted; resume with: " in stopped.err
    monkeypatch.setattr(Plain, "answer", lambda *args: asked.append(args[1].index_B.tolist()) or original(*args))
    resumed = certify(path, "certify.batch_size=8", "resume=true")
    assert resumed.code == 0, resumed.err
    assert "resuming with what is saved" in resumed.out
    assert [one[0] for one in asked] == [0, 8]


@pytest.mark.parametrize("prompt", ["j j j", "J, j; J!", "h h h"])
def test_a_prompt_of_training_or_selection_is_refused_in_one_line(
    certify: Callable[..., Any], made: Path, prompt: str
) -> None:
    done = certify(write(made / "new.jsonl", [*NEW, prompt]))
    assert done.code != 0
    line = done.err.strip().splitlines()[-1]
    assert "certify.prompts=" in line
    assert "new.jsonl:17" in line
    assert "prompts of stage=ppo" in line
    assert not (made / "artifacts" / "certify").exists()


def test_the_training_file_itself_is_refused(certify: Callable[..., Any], made: Path) -> None:
    done = certify(made / "train.jsonl")
    assert done.code != 0
    assert "this file is the train data of stage=ppo" in done.err


@pytest.fixture
def evaluate(made: Path, folders: Any, command_line: Callable[..., Any]) -> Callable[..., Any]:
    def call(prompts: Path, *words: str) -> Any:
        inputs = [f"inputs.{name}={getattr(folders, name)}" for name in ("sft", "reward")]
        return command_line(
            "stage=evaluate", f"artifacts={made / 'artifacts'}", "logger=none", "data=jsonl", f"data.train={prompts}",
            f"evaluate.prompts={{new: {prompts}}}", "evaluate.harmful=[new]", "rollout.max_new_tokens=5", *inputs,
            *words,
        )  # fmt: skip

    return call


def test_prompts_of_an_evaluation_certify_at_a_share_of_delta_for_each_candidate(
    certify: Callable[..., Any], evaluate: Callable[..., Any], made: Path
) -> None:
    """Evaluated with the SFT policy beside it: two candidates were seen on five of the prompts."""
    seen = evaluate(write(made / "seen.jsonl", NEW[:5]))
    assert seen.code == 0, seen.err
    path = write(made / "new.jsonl", NEW)
    refused = certify(path)
    assert refused.code == 1
    line = refused.err.strip().splitlines()[-1]
    assert f"certify.prompts={path}: 5 of 16 prompts ('{NEW[0]}'; " in line
    assert "by stage=evaluate of 20" in line
    assert "artifacts/evaluate/run: ppo, sft)" in line
    assert "certify.num_runs=2" in line
    assert not (made / "artifacts" / "certify").exists()

    paid = certify(path, "certify.num_runs=2")
    assert paid.code == 0, paid.err
    document = json.loads((made / "artifacts" / "certify" / "run" / "certificate.json").read_text(encoding="utf-8"))
    assert document["confidence"]["delta_each"] == pytest.approx(0.025)
    assert document["untouched"]["seen"]["prompts"] == 5
    assert any("5 of them were seen before" in words for words in document["assumptions"])

    fresh = certify(write(made / "fresh.jsonl", NEW[5:]))
    assert fresh.code == 0, fresh.err
    document = json.loads((made / "artifacts" / "certify" / "run" / "certificate.json").read_text(encoding="utf-8"))
    assert "seen" not in document["untouched"]
    assert any("have made 1 other certificate" in words for words in document["caveats"])
    assert "have made 1 other certificate" in " ".join(fresh.out.split())


def test_an_evaluation_that_came_later_leaves_a_certificate_as_it_is(
    certify: Callable[..., Any], evaluate: Callable[..., Any], made: Path
) -> None:
    path, folder = write(made / "new.jsonl", NEW), made / "artifacts" / "certify" / "run"
    assert certify(path).code == 0
    first = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert evaluate(path).code == 0
    again = certify(path, "certify.prompts=null", f"certify.outputs={folder / 'answers.jsonl'}")
    assert again.code == 0, again.err
    assert json.loads((folder / "certificate.json").read_text(encoding="utf-8")) == first
    other_draws = certify(path, "seed=1")
    assert other_draws.code == 1
    assert "certify.num_runs=2" in other_draws.err


def test_evaluations_of_kept_responses_and_decoding_are_looks_as_well(
    certify: Callable[..., Any],
    evaluate: Callable[..., Any],
    made: Path,
    folders: Any,
    command_line: Callable[..., Any],
) -> None:
    path = write(made / "new.jsonl", NEW)
    assert evaluate(path).code == 0
    kept = made / "artifacts" / "evaluate" / "run" / "answers.jsonl"
    for folder in (made / "artifacts" / "seen_prompts", made / "artifacts" / "ppo" / "run" / "seen_prompts"):
        shutil.rmtree(folder)
    assert evaluate(path, "evaluate.prompts=null", f"evaluate.outputs={kept}").code == 0
    assert "stage=evaluate of" in certify(path).err

    shutil.rmtree(made / "artifacts" / "seen_prompts")
    shutil.rmtree(made / "artifacts" / "ppo" / "run" / "seen_prompts", ignore_errors=True)
    given = command_line(
        "stage=decode", f"artifacts={made / 'artifacts'}", "rollout.max_new_tokens=5", f"decode.prompts={path}",
        f"inputs.reward={folders.reward}", "decode.n=2", "decode.refusal=sorry", "name=mine",
    )  # fmt: skip
    assert given.code == 0, given.err
    refused = certify(path)
    assert "stage=decode of" in refused.err
    assert "artifacts/decode/mine: run)" in refused.err
    assert "certify.num_runs=2" in refused.err  # best of 2 was seen, one draw is certified


def test_prompts_by_which_a_threshold_was_chosen_are_refused(
    certify: Callable[..., Any], made: Path, command_line: Callable[..., Any]
) -> None:
    rows = [
        {"prompt": prompt, "response": "yes no", "label": ("Safe", "Unsafe")[i % 2]} for i, prompt in enumerate(NEW[:6])
    ]
    labelled = made / "labelled.jsonl"
    labelled.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    done = command_line(
        "stage=evaluate", "evaluate=cost_model", f"artifacts={made / 'artifacts'}", "logger=none", "data=jsonl",
        f"data.test={labelled}", "evaluate.baseline=false", "leaks=ignore",
    )  # fmt: skip
    assert done.code == 0, done.err
    refused = certify(write(made / "new.jsonl", NEW), "certify.num_runs=9")
    assert refused.code == 1
    assert "6 of 16 prompts" in refused.err
    assert "of a threshold on the cost model that counts here: stage=evaluate evaluate=cost_model" in refused.err


def test_data_that_is_gone_is_named(made: Path) -> None:
    (made / "train.jsonl").unlink()
    found = known_to({"ppo": str(made / "artifacts" / "ppo" / "run"), "cost": "somebody/else"})
    assert not found.sets
    assert "stage=ppo's data cannot be compared" in found.unchecked[0]
    assert any("somebody/else (cost) has no record" in words for words in found.unchecked)


def test_a_generated_world_is_compared_as_well(made: Path) -> None:
    path = made / "artifacts" / "cost" / "csrlhf.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    sizes = {"labelled": {"train": 50, "validation": 10}}
    record["config"] = {"data": {"_target_": "csrlhf.data.toy.source.ToyData", "sizes": sizes}}
    path.write_text(json.dumps(record), encoding="utf-8")
    found = known_to({"cost": str(path.parent)})
    assert [(part.name, bool(part.texts)) for part in found.sets] == [
        ("train prompts of stage=cost", True), ("validation prompts of stage=cost", True),
    ]  # fmt: skip
    assert found.generated
