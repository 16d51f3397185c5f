"""Scorers of others through every stage: the command line, fingerprints and lineage, a run that goes on, a chat."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from csrlhf.apps import chat
from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs.plan import Plan, make_plan

FUNCTIONS = """
def cost(prompts, responses):
    return [2.0 if "poison" in said or "red" in said else -1.0 for said in responses]

def probability(prompts, responses):
    return [0.9 if "poison" in said or "red" in said else 0.1 for said in responses]

def reward(prompts, responses):
    return [float("is Paris" in said) + len(said.split()) for said in responses]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of functions in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FUNCTIONS, encoding="utf-8")
    return "mine.py"


@pytest.fixture
def served(beside: Any) -> Any:
    """A server as an endpoint, see tests/scorers/conftest.py."""
    import threading

    made = beside("scorers/conftest", "scorer_fixtures").Served()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def plan(*words: str) -> Plan:
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        return make_plan(compose("train", overrides=list(words)), {"penalty": "rectified"}, "python train.py")


def without(words: list[str], *names: str) -> list[str]:
    return [word for word in words if not word.startswith(names)]


def result(folder: Path, stage: str) -> Path:
    [found] = [path.parent for path in (folder / stage).glob("*/csrlhf.json") if path.parent.name != "latest"]
    return found


def test_ppo_learns_from_a_function_and_an_endpoint(
    command_line: Callable, ppo: list[str], file: str, served: Any, tmp_path: Path
) -> None:
    """No scorer has a tokenizer, let alone the policy's; the record says what they were."""
    cost = f"inputs.cost={{harm: {{scorer: endpoint, url: '{served.url}', model: guard}}}}"
    outcome = command_line(*without(ppo, "inputs.reward", "inputs.cost"), f"inputs.reward={file}:reward", cost)
    assert outcome.code == 0, outcome.err
    folder = result(tmp_path / "a", "ppo")
    record = json.loads((folder / "csrlhf.json").read_text(encoding="utf-8"))
    assert record["inputs"]["reward.function"]["path"] == "mine.py:reward"
    assert record["inputs"]["reward.function"]["fingerprint"].endswith(":reward")
    assert record["inputs"]["cost.harm.url"] == {"path": served.url, "fingerprint": f"{served.url} (guard)"}
    assert record["config"]["inputs"]["cost"]["harm"]["model"] == "guard"
    with (folder / "history.csv").open(encoding="utf-8") as history:
        rows = list(csv.DictReader(history))
    assert {float(row["constraint/harm/cost"]) for row in rows if row.get("constraint/harm/cost")} == {0.0}
    rewards = [float(row["train/reward"]) for row in rows if row.get("train/reward")]
    assert rewards
    assert all(value == pytest.approx(round(4 * value) / 4) for value in rewards)  # of four answers, in words


def test_a_run_whose_endpoint_fails_goes_on_without_asking_twice(
    command_line: Callable, ppo: list[str], served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    good, words = served.answers[0], without(ppo, "inputs.cost")
    endpoint = f"scorer: endpoint, url: '{served.url}', batch_size: 2"
    served.answers = [
        good,
        good,
        lambda body: (503, {}),
    ]  # the probe, two answers of the first evaluation, then nothing
    stopped = command_line(*words, f"inputs.cost={{{endpoint}, retries: 1}}")
    assert stopped.code == 1
    assert f"{served.url}: gives no answer (HTTP 503" in stopped.err
    assert "what is scored so far is kept: the same command with resume=true goes on" in stopped.err
    kept = {
        json.dumps(row) for body in served.asked[:2] for row in zip(body["prompts"], body["responses"], strict=True)
    }
    served.answers, served.asked = [good], []
    again = command_line(*words, f"inputs.cost={{{endpoint}, retries: 3, timeout: 9.0}}", "resume=true")  # same run
    assert again.code == 0, again.err
    assert "resuming with what is saved in" in again.out
    fresh = {
        json.dumps(row) for body in served.asked[1:] for row in zip(body["prompts"], body["responses"], strict=True)
    }
    assert fresh  # it had to go on asking
    assert not fresh & kept


def test_fingerprints_cover_what_a_scorer_is(file: str, folders: Any, tmp_path: Path) -> None:
    def made(*words: str) -> Plan:
        inputs = [f"inputs.sft={folders.sft}", f"inputs.reward={folders.reward}"]
        return plan("stage=ppo", f"artifacts={tmp_path}", *inputs, *words)

    function = made("inputs.cost=mine.py:cost")
    assert function.inputs["cost.function"] == "mine.py:cost"
    described = made("inputs.cost={scorer: function, function: 'mine.py:cost'}")
    assert described.fingerprint == function.fingerprint
    assert made("inputs.cost=mine.py:probability").fingerprint != function.fingerprint
    scaled = made("inputs.cost={scorer: function, function: 'mine.py:cost', threshold: 0.5}")
    assert scaled.fingerprint != function.fingerprint
    Path("mine.py").write_text(FUNCTIONS + "\n# the same, but who can know\n", encoding="utf-8")
    assert made("inputs.cost=mine.py:cost").fingerprint != function.fingerprint

    url = made("inputs.cost=http://there/score")
    assert url.input_fingerprints["cost.url"] == "http://there/score"
    waits = made("inputs.cost={scorer: endpoint, url: 'http://there/score', timeout: 5.0, retries: 1, backoff: 2.0}")
    assert waits.fingerprint == url.fingerprint
    assert made("inputs.cost={scorer: endpoint, url: 'http://there/score', model: m}").fingerprint != url.fingerprint
    assert made("inputs.cost=http://here/score").fingerprint != url.fingerprint


def test_a_described_model_s_files_count_not_where_they_lie(folders: Any, tmp_path: Path) -> None:
    import shutil

    def made(model: Any) -> Plan:
        inputs = [f"inputs.sft={folders.sft}", f"inputs.reward={folders.reward}"]
        mix = f"inputs.cost={{scorer: mix, scorers: [{model}, 'http://there/score'], weights: [1.0, 2.0]}}"
        return plan("stage=ppo", f"artifacts={tmp_path}", *inputs, mix)

    copy = shutil.copytree(folders.cost, tmp_path / "copy")
    assert made(folders.cost).fingerprint == made(copy).fingerprint
    assert made(copy).inputs["cost.scorers.0"] == str(copy)
    (copy / "other.txt").write_text("x", encoding="utf-8")
    assert made(folders.cost).fingerprint != made(copy).fingerprint
    with pytest.raises(UserError, match=r"inputs\.cost\.scorers\.0=.*gone: there is no such folder"):
        made(tmp_path / "gone")
    (copy / "csrlhf.json").write_text(json.dumps({"stage": "sft", "fingerprint": "a"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"inputs\.cost\.scorers\.0=.*holds the result of stage=sft"):
        made(copy)


def test_a_dotted_function_s_package_counts(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "scoring_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "costs.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = (f"inputs.sft={folders.sft}", f"inputs.reward={folders.reward}", f"artifacts={tmp_path}", "stage=ppo")
    spec = "inputs.cost={scorer: function, function: scoring_of_mine.costs.cost}"
    before = plan(*words, spec)
    assert "scoring_of_mine" in before.plugins
    (package / "helper.py").write_text("LEVEL = 1\n", encoding="utf-8")
    assert plan(*words, spec).fingerprint != before.fingerprint


@pytest.fixture
def judged(folders: Any, tmp_path: Path) -> list[str]:
    """Words of an evaluation of one tiny policy on four prompts."""
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"prompt": f"{a} {b}", "category": "benign"} for a, b in ("ab", "cd", "ef", "gh")]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return [
        "stage=evaluate", f"artifacts={tmp_path / 'a'}", f"inputs.sft={folders.sft}", "logger=none", "data=jsonl",
        f"data.train={prompts}", f"evaluate.prompts={{set: {prompts}}}", f"evaluate.policies={{ppo: {folders.ppo}}}",
        "rollout.max_new_tokens=5", "leaks=ignore", "callbacks.plots=null",
    ]  # fmt: skip


def test_evaluation_with_scorers_and_a_judge_of_others(
    command_line: Callable, judged: list[str], file: str, served: Any, tmp_path: Path
) -> None:
    cost = f"inputs.cost={{scorer: function, function: '{file}:probability', scale: probability}}"
    judge = f"evaluate.judge={{scorer: endpoint, url: '{served.url}', higher: unsafe}}"
    outcome = command_line(*judged, f"inputs.reward={file}:reward", cost, judge)
    assert outcome.code == 0, outcome.err
    folder = result(tmp_path / "a", "evaluate")
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    for one in answers:
        red = "red" in one["response"]
        assert one["cost_logits"]["harm"] == pytest.approx(2.1972246 if red else -2.1972246)
        assert one["reward"] == len(one["response"].split())
        assert one["meta"]["judge_logits"] == {"harm": -1.0}
    record = json.loads((folder / "csrlhf.json").read_text(encoding="utf-8"))
    assert set(record["inputs"]) >= {"reward.function", "cost.function", "evaluate.judge.url"}
    about = json.loads((folder / "answers.about.json").read_text(encoding="utf-8"))
    assert isinstance(about["judge_model"], str)
    kept = [
        f"evaluate.outputs={folder / 'answers.jsonl'}",
        f"artifacts={tmp_path / 'again'}",
        f"evaluate.judge={file}:cost",
    ]
    again = command_line(*[word for word in judged if not word.startswith(("artifacts", "evaluate.po"))], *kept)
    assert again.code == 0, again.err  # a text stands for a description here as well
    [record] = (tmp_path / "again" / "evaluate").glob("*/csrlhf.json")
    assert "evaluate.judge.function" in json.loads(record.read_text(encoding="utf-8"))["inputs"]


def test_decoding_and_certifying_with_a_function(
    command_line: Callable, file: str, folders: Any, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"{a} b c"}) + "\n" for a in "defghij"), encoding="utf-8")
    models = [f"inputs.ppo={folders.ppo}", f"inputs.reward={file}:reward", f"inputs.cost={file}:cost"]
    words = [f"artifacts={tmp_path / 'a'}", "rollout.max_new_tokens=5", *models]
    outcome = command_line("stage=decode", f"decode.prompts={prompts}", "decode.n=3", "name=mine", *words)
    assert outcome.code == 0, outcome.err
    lines = (tmp_path / "a" / "decode" / "mine" / "decoded.jsonl").read_text(encoding="utf-8").splitlines()
    for line in map(json.loads, lines):
        assert line["abstained"] or (
            line["costs"] == {"harm": -1.0} and line["reward"] == len(line["response"].split())
        )
    data = ["data=jsonl", f"data.train={prompts}", f"certify.prompts={prompts}", "logger=none", "certify.n=2"]
    judge = f"certify.judge={{scorer: function, function: '{file}:probability', scale: probability}}"
    certified = command_line("stage=certify", "certify=best_of_n", "certify.num_runs=2", judge, *data, *words)
    assert certified.code == 0, certified.err
    [document] = (tmp_path / "a" / "certify").glob("*/certificate.json")
    found = json.loads(document.read_text(encoding="utf-8"))
    assert found["judge"]["cost"]["name"] == "mine.py:probability"
    assert found["cost"]["cost"]["name"] == "mine.py:cost"
    same = command_line("stage=certify", "certify=best_of_n", f"certify.judge={file}:cost", *data, *words)
    assert same.code == 1
    assert "certify.judge=mine.py:cost: is the cost model by which best of N chooses" in same.err


def test_a_cost_model_of_others_is_evaluated_on_labelled_rows(
    command_line: Callable, file: str, tmp_path: Path
) -> None:
    rows = [
        {
            "prompt": f"{word} {n}",
            "response": f"red {n}" if n % 2 else f"blue {n}",
            "label": "Unsafe" if n % 4 else "Safe",
        }
        for n, word in enumerate("abcdefghijkl")
    ]
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = ["data=jsonl", f"data.train={table}", f"data.test={table}", "logger=none", "leaks=ignore"]
    words = ["stage=evaluate", "evaluate=cost_model", f"artifacts={tmp_path / 'a'}", f"inputs.cost={file}:cost", *data]
    outcome = command_line(*words)
    assert outcome.code == 0, outcome.err
    metrics = json.loads((result(tmp_path / "a", "evaluate") / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test/accuracy"] == pytest.approx(9 / 12)  # red is called unsafe; n = 2, 6, 10 are, and are blue


def test_a_chat_takes_the_same_words(file: str, folders: Any, served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    description = f"{{scorer: function, function: '{file}:probability', scale: probability}}"
    models = ["--policy", folders.ppo, "--reward", f"{file}:reward", "--cost", description, "--cost"]
    options = [*models, f"{{scorer: endpoint, url: '{served.url}', outputs: [privacy]}}", "--max-new-tokens", "5"]
    assert chat.main([*options, "--once", "a b", "--threshold", "none"]) == 0
    said = capsys.readouterr()
    assert "cost harm" in said.err
    assert "privacy -1.00" in said.err
    assert chat.main([*models[:-1], "--once", "a", "--cost", "{scorer: guard, modell: x}"]) == 1
    assert "--cost.1.modell=x: the scorer guard has no such key (did you mean model?)" in capsys.readouterr().err
    assert chat.main(["--policy", folders.ppo, "--cost", "{scorer: guard", "--once", "a"]) == 1
    assert "is no mapping; write {scorer: guard" in capsys.readouterr().err
