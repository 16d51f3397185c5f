"""Sweeps on this machine: what is run, kept, tried again and refused. A small program stands in for the training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.sweeping.local import Local, Task
from csrlhf.sweeping.spec import Setting, read_spec
from csrlhf.sweeping.study import run_name
from csrlhf.sweeping.table import read_runs

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
NAMES = [f"threshold={d}+multiplier={m}" for d in (0.1, 0.03) for m in (2.0, 4.0)]


def run_here(task: Task, threads: int) -> int:
    """The command in a process of its own, without the server of the pool."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("w") as log:
        return subprocess.run(
            [sys.executable, *task.start, *task.words], stdout=log, stderr=log, check=False
        ).returncode


@pytest.fixture
def local(content: dict[str, Any], write: Callable[..., Path], program: Path, tmp_path: Path) -> Callable[..., Local]:
    def make(changes: dict[str, Any] | None = None, **options: Any) -> Local:
        spec = read_spec(write(content | {"program": str(program)} | (changes or {})))
        given = {"setting": Setting(tmp_path / "models", {}), "out": tmp_path / "out", "run": run_here}
        return Local(spec, start=(str(program),), **given | options)

    return make


def rows(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_runs(tmp_path / "out" / "runs.csv")}


def test_every_point_is_run_once_and_stands_in_the_table(
    local: Callable[..., Local], calls: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local(workers=2).make()
    assert sorted(calls()) == sorted(NAMES)
    found = rows(tmp_path)
    assert set(found) == set(NAMES)
    row = found["threshold=0.03+multiplier=2.0"]
    assert row["status"] == "finished"
    assert row["overrides"] == "constraints.harm.threshold=0.03 penalty.multiplier=2.0"
    assert (row["strategy"], row["multiplier"], row["threshold/harm"]) == ("rectified", 2.0, 0.03)
    assert row["best/validation/harm/cost"] == row["late/validation/harm/cost"] == 0.03
    assert capsys.readouterr().out.count(" left") == 4
    local().make()
    assert len(calls()) == 4, "finished runs are kept"


def test_a_longer_grid_keeps_what_a_shorter_one_has_made(
    local: Callable[..., Local], calls: Callable[[], list[str]], content: dict[str, Any], tmp_path: Path
) -> None:
    local(count=1).make()
    assert calls() == NAMES[:1]
    parameters = content["parameters"] | {"penalty.multiplier": {"values": [1.0, 2.0]}}
    local({"parameters": parameters}).make()
    assert sorted(calls()) == sorted(f"threshold={d}+multiplier={m}" for d in (0.1, 0.03) for m in (1.0, 2.0))
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["spec"]["parameters"] == parameters


def test_a_failed_run_is_named_and_tried_again(
    local: Callable[..., Local], calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "fail").write_text(NAMES[1])
    sweep = local()
    sweep.make()
    assert [task.name for task in sweep.failed] == [NAMES[1]]
    assert "the loss is not finite" in sweep.failed[0].log.read_text()
    found = rows(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == dict.fromkeys(NAMES, "finished") | {
        NAMES[1]: "failed"
    }
    assert found[NAMES[1]]["log"] == str(sweep.failed[0].log)
    (tmp_path / "fail").unlink()
    again = local()
    again.make()
    assert not again.failed
    assert calls().count(NAMES[1]) == 2
    assert len(calls()) == 5
    assert {row["status"] for row in rows(tmp_path).values()} == {"finished"}


def test_runs_of_other_words_or_models_are_not_put_into_one_table(local: Callable[..., Local], tmp_path: Path) -> None:
    local(count=1).make()
    with pytest.raises(UserError, match=r"its runs were made with overrides \[\], and now \['seed=3'\] is asked for"):
        local(overrides=("seed=3",)).make()
    (tmp_path / "models" / "sft" / "csrlhf.json").write_text('{"stage": "sft", "fingerprint": "sft-2"}')
    with pytest.raises(UserError, match=r"its runs were made with inputs .*sft-1.*sft-2"):
        local(count=1).make()


def test_bayes_learns_from_one_metric(local: Callable[..., Local]) -> None:
    changes = {
        "method": "bayes",
        "parameters": {"penalty.multiplier": {"min": 1.0, "max": 8.0}, "constraints.harm.threshold": {"value": 0.1}},
    }
    local(changes, count=1).make()
    with pytest.raises(UserError, match=r"its runs were made with metric .*maximize.*, and now .*score'} is asked for"):
        local(changes | {"metric": {"name": "selection/score"}}, count=1).make()


def test_models_that_are_missing_are_made_first(local: Callable[..., Local], tmp_path: Path) -> None:
    (tmp_path / "models" / "reward" / "csrlhf.json").unlink()
    started: list[list[str]] = []

    def run(task: Task, threads: int) -> int:
        started.append(list(task.words))
        if task.stage == "reward":
            (tmp_path / "models" / "reward" / "csrlhf.json").write_text('{"stage": "reward", "fingerprint": "r"}')
            return 0
        return run_here(task, threads)

    local(run=run, overrides=("experiment=smoke", "artifacts=x"), count=1).make()
    assert len(started) == 2
    root = tmp_path / "models"
    own = ["experiment=smoke", f"artifacts='{root}'", "resume=true", "logger=none"]
    assert started[0] == ["stage=reward", *own]
    assert f"inputs.reward='{root / 'reward'}'" in started[1]
    assert f"artifacts='{tmp_path / 'out'}'" in started[1]
    assert "artifacts=x" not in started[1]


def test_a_model_that_cannot_be_made_stops_the_sweep(local: Callable[..., Local], tmp_path: Path) -> None:
    (tmp_path / "models" / "reward" / "csrlhf.json").unlink()
    with pytest.raises(UserError, match=r"stage=reward ended with an error, .*reward.log"):
        local(run=lambda task, threads: 1).make()


def test_a_program_that_leaves_no_result_is_no_finished_run(local: Callable[..., Local]) -> None:
    with pytest.raises(UserError, match="there is no result of stage=ppo"):
        local(run=lambda task, threads: 0).make()


def test_bayes_goes_on_where_it_was_stopped(
    local: Callable[..., Local], calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    changes = {
        "method": "bayes",
        "parameters": {
            "penalty.multiplier": {"min": 1.0, "max": 8.0},
            "constraints.harm.threshold": {"value": 0.1},
        },
    }
    with pytest.raises(UserError, match="--count: method=bayes has no end"):
        local(changes).make()
    stopped = False

    def run(task: Task, threads: int) -> int:
        nonlocal stopped
        if len(calls()) == 2 and not stopped:
            stopped = True
            return 130
        return run_here(task, threads)

    with pytest.raises(KeyboardInterrupt):
        local(changes, count=4, run=run).make()
    suggested = local(changes, count=4).points()
    assert len(suggested) == 3
    local(changes, count=4, run=run).make()
    assert len(calls()) == len(set(calls())) == 4
    assert calls()[:3] == [run_name(point, ["penalty.multiplier"]) for point in suggested], "the half one first"
    assert len(rows(tmp_path)) == 4


def test_bayes_says_which_metrics_there_are(local: Callable[..., Local]) -> None:
    changes = {
        "method": "bayes",
        "metric": {"name": "selection/scroe"},
        "parameters": {"penalty.multiplier": {"min": 1.0, "max": 8.0}, "constraints.harm.threshold": {"value": 0.1}},
    }
    with pytest.raises(UserError, match=r"metric.name=selection/scroe: .*selection/score"):
        local(changes, count=2).make()


@pytest.fixture
def command(content: dict[str, Any], write: Callable[..., Path], program: Path, tmp_path: Path) -> list[str]:
    """The real program over the stand-in, without the libraries that training would need."""
    path, starter = write(content | {"program": str(program)}), tmp_path / "starter.py"
    starter.write_text(
        "import sys\nfrom csrlhf.apps import sweep\nfrom csrlhf.runs import processes\nprocesses.PRELOAD = ()\n"
        "if __name__ == '__main__':\n    sys.exit(sweep.main(sys.argv[1:]))\n"
    )
    words = [str(path), "--local", "--out", str(tmp_path / "out"), "--workers", "1", "--threshold", "0.06"]
    return [sys.executable, str(starter), *words, "--overrides", f"artifacts={tmp_path / 'models'}"]


@pytest.fixture
def stop_at_the_second(
    command: list[str], calls: Callable[[], list[str]], tmp_path: Path
) -> Callable[[Callable[[int], None]], tuple[int, str]]:
    """Starts the sweep, lets its second run wait, and stops it; returns exit code and errors."""

    def call(stop: Callable[[int], None]) -> tuple[int, str]:
        (tmp_path / "wait").write_text(NAMES[1])
        started = subprocess.Popen(
            command, env=ENVIRONMENT, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 200
        while len(calls()) < 2:
            assert time.monotonic() < deadline
            assert started.poll() is None
            time.sleep(0.1)
        stop(started.pid)
        _, errors = started.communicate(timeout=100)
        (tmp_path / "wait").unlink()
        return started.returncode, errors

    return call


def test_after_kill_9_finished_runs_are_kept(
    command: list[str], stop_at_the_second: Callable, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    stop_at_the_second(lambda pid: os.kill(pid, signal.SIGKILL))
    assert set(rows(tmp_path)) == {NAMES[0]}
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert calls() == [NAMES[0], NAMES[1], NAMES[1], *NAMES[2:]]
    assert "4 runs, 1 finished" in done.stdout
    assert "4 of 4 runs finished" in done.stdout
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"sweep.json", "runs.csv", "lambda_star.json", "plots", "report.html"} <= made


def test_ctrl_c_waits_for_the_run_and_starts_no_other(
    stop_at_the_second: Callable, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    code, errors = stop_at_the_second(lambda pid: os.killpg(pid, signal.SIGINT))
    assert (code, errors.strip()) == (130, "stopped; the same command continues from here")
    assert calls() == NAMES[:2]
    assert set(rows(tmp_path)) == {NAMES[0]}, "a run that was stopped has not failed"


def test_two_calls_side_by_side_share_the_runs(
    command: list[str], calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "wait").write_text(" ".join(NAMES))
    beside = [
        subprocess.Popen(
            command, env=ENVIRONMENT, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    deadline = time.monotonic() + 200
    while len(calls()) < 2:  # each has one
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (tmp_path / "wait").unlink()
    ended = [one.communicate(timeout=100) for one in beside]
    assert [one.returncode for one in beside] == [0, 0], ended
    assert sorted(calls()) == sorted(NAMES)
    assert {row["status"] for row in rows(tmp_path).values()} == {"finished"}
    assert len(rows(tmp_path)) == 4
    assert any("4 of 4 runs finished" in out for out, _ in ended)


def test_a_name_is_readable_where_it_can_be() -> None:
    assert run_name({"penalty": "pid", "penalty.kp": 0.5}, ["penalty.kp"]) == "kp=0.5"
    both = {"ppo.policy_optimizer.lr": 1.0, "ppo.critic_optimizer.lr": 2.0}
    assert run_name(both, list(both)) == "ppo.critic_optimizer.lr=2.0+ppo.policy_optimizer.lr=1.0"
    long = {"a": "x" * 100}
    assert run_name(long, ["a"]).startswith("run-")
    assert run_name(long, ["a"]) != run_name({"a": "y" * 100}, ["a"])
    assert run_name({"data.train": "a/b"}, ["data.train"]).startswith("run-")
