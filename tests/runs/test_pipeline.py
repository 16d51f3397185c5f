"""The pipeline's decisions; the stages' processes are replaced by a function that publishes a result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs import artifacts, pipeline

PROGRAM = ("python", "train.py")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Words and environment of each stage that was started; each publishes what its plan says."""
    calls: list[tuple[list[str], dict[str, str]]] = []
    plans = []
    make_plan = pipeline.make_plan

    def remember(*args: object) -> object:
        plans.append(make_plan(*args))  # type: ignore[arg-type]
        return plans[-1]

    def call(words: list[str], variables: dict[str, str]) -> None:
        calls.append((words, variables))
        plan = plans[-1]

        def write(folder: Path) -> None:
            artifacts.write_json(folder / artifacts.RECORD, {"fingerprint": plan.fingerprint})
            artifacts.write_json(folder / "metrics.json", {f"{plan.stage}/x": 1.0, "last": len(calls)})

        artifacts.publish(plan.folder, write)

    monkeypatch.setattr(pipeline, "_rehearse", lambda *_: None)
    monkeypatch.setattr(pipeline, "make_plan", remember)
    monkeypatch.setattr(pipeline, "_call", call)
    return calls


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, float]]:
    def call(*words: str) -> dict[str, float]:
        search_path.register()
        words = (f"artifacts={tmp_path}", *words)
        with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
            return pipeline.run(compose("train", overrides=list(words)), list(words), PROGRAM)

    return call


def stages(calls: list[tuple[list[str], dict[str, str]]]) -> list[str]:
    return [word.removeprefix("stage=") for words, _ in calls for word in words if word.startswith("stage=")]


def test_all_stages_run_once_and_are_skipped_afterwards(
    started: list, run: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run()
    assert stages(started) == ["sft", "reward", "cost", "ppo", "evaluate"]
    assert metrics == {**{f"{stage}/x": 1.0 for stage in stages(started)}, "last": 5}
    capsys.readouterr()
    assert run() == metrics
    assert len(started) == 5
    assert capsys.readouterr().out.count(": unchanged, ") == 5


def test_another_penalty_runs_ppo_and_evaluation_beside_the_first(started: list, run: Callable, tmp_path: Path) -> None:
    run()
    started.clear()
    run("penalty=lagrangian", "constraints.harm.threshold=0.02")
    assert stages(started) == ["ppo", "evaluate"]
    runs = sorted(path.name for path in (tmp_path / "ppo").iterdir() if not path.is_symlink())
    assert [name.split("-")[0] for name in runs] == ["lagrangian", "rectified"]
    assert sorted(path.name for path in (tmp_path / "evaluate").iterdir()) == runs
    started.clear()
    run()  # the first settings again: everything stands
    assert started == []
    assert (tmp_path / "ppo" / "latest").resolve().name.startswith("rectified")


def test_words_reach_every_stage_and_pipeline_words_one(started: list, run: Callable) -> None:
    run("sft.batch_size=32", 'pipeline.cost=["cost.batch_size=16"]', "stage=pipeline")
    for words, _ in started:
        assert "sft.batch_size=32" in words
        assert "stage=pipeline" not in words
        assert ("cost.batch_size=16" in words) == ("stage=cost" in words)
    evaluate = started[-1][0]
    assert any(word.startswith("inputs.ppo=") for word in evaluate)


def test_a_mistake_for_a_late_stage_shows_before_the_first_runs(started: list, run: Callable) -> None:
    with pytest.raises(Exception, match=r"evaluate\.nothing"):
        run('pipeline.evaluate=["evaluate.nothing=1"]')
    assert started == []


def test_stages_are_rehearsed_once_before_the_first_that_runs_and_not_where_none_does(
    started: list, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsals: list[tuple[list[str], int]] = []
    monkeypatch.setattr(pipeline, "_rehearse", lambda parts, *_: rehearsals.append((list(parts), len(started))))
    run()
    assert rehearsals == [(["sft", "reward", "cost", "ppo", "evaluate"], 0)]
    run()
    assert len(rehearsals) == 1


def test_only_ppo_sees_the_sweeps_run_id(started: list, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "x")
    monkeypatch.setenv("WANDB_SWEEP_ID", "y")
    run()
    seen = {stage: "WANDB_RUN_ID" in variables or "WANDB_SWEEP_ID" in variables
            for stage, (_, variables) in zip(stages(started), started, strict=True)}  # fmt: skip
    assert seen == {"sft": False, "reward": False, "cost": False, "ppo": True, "evaluate": False}


def test_the_stages_of_one_pipeline_run_are_one_group_unless_the_user_names_another(
    started: list, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    run()
    [group] = {variables["WANDB_RUN_GROUP"] for _, variables in started}
    assert group.startswith("pipeline-")
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    run("seed=1")
    assert {variables["WANDB_RUN_GROUP"] for _, variables in started[5:]} == {"mine"}


@pytest.mark.parametrize("variable", [("WORLD_SIZE", "2"), ("RANK", "1"), ("SLURM_PROCID", "3"), ("SLURM_NTASKS", "2")])
def test_ranks_are_refused_with_the_stages_commands(variable: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"python train\.py stage=sft; python train\.py stage=ppo"):
        pipeline.refuse_ranks(dict([variable]), ["sft", "ppo"], "python train.py")


def test_a_single_process_is_no_rank() -> None:
    pipeline.refuse_ranks({"WORLD_SIZE": "1", "RANK": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, ["sft"], "x")


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_failing_stage_hands_on_its_exit_code(program: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "stage.py").write_text(program)
    with pytest.raises(pipeline.StageError) as caught:
        pipeline._call([sys.executable, str(tmp_path / "stage.py")], dict(os.environ))
    assert caught.value.exit_code == code


def test_the_waiting_parent_imports_no_torch(tmp_path: Path) -> None:
    """Five stages start a process each; the parent must not cost a sixth."""
    program = (
        "import sys; sys.argv = ['train.py', 'artifacts=' + sys.argv[1]]\n"
        "import train; from csrlhf.apps import cli\n"
        "from csrlhf.config import search_path; from csrlhf.runs import pipeline\n"
        "def stop(*_): raise pipeline.StageError(42)\n"  # the first stage is planned, its data hashed
        "pipeline._call = stop; search_path.register(); code = cli.call(train.main)\n"
        "print(code, sorted({'torch', 'lightning', 'transformers', 'matplotlib', 'wandb'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout.strip() == "42 []", done.stdout + done.stderr
