"""The real programs at the smallest size: a local sweep, a run as W&B's agent starts it, and Hydra's own multirun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from csrlhf.runs.artifacts import read_record
from csrlhf.sweeping.spec import read_spec
from csrlhf.sweeping.table import read_runs, rows_in

pytestmark = pytest.mark.full
"""Ten programs, each of which imports torch: minutes. What starts, ends and goes on is in test_local.py."""

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "callbacks.progress.every=1000.0",
    "model.policy.architecture.hidden_size=16",
    "model.policy.architecture.intermediate_size=32",
    "data.sizes.demonstrations={train: 64, validation: 16, test: 8}",
    "data.sizes.preferences={train: 32, validation: 16, test: 8}",
    "data.sizes.labelled={train: 32, validation: 16, test: 8}",
    "data.sizes.prompts={train: 32, validation: 64, test: 16}",
    "sft.epochs=1",
    "reward.max_steps=2",
    "cost.max_steps=2",
    "cost.baseline=false",
    "ppo.iterations=2",
    "ppo.eval_every=1",
    "ppo.batch_size=8",
    "ppo.minibatch_size=8",
    "ppo.num_validation=64",  # they can show a threshold of 0.1
    "ppo.critic_warmup=1",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with the models and a local sweep of two runs."""
    root = tmp_path_factory.mktemp("swept")
    content = yaml.safe_load((ROOT / "sweeps" / "rectified.yaml").read_text(encoding="utf-8"))
    content["parameters"]["penalty.multiplier"] = {"values": [2.0, 8.0]}
    content["parameters"]["constraints.harm.threshold"] = {"value": 0.5}
    (root / "small.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    words = [str(root / "small.yaml"), "--local", "--workers", "1", "--overrides", f"artifacts={root / 'artifacts'}"]
    done = subprocess.run(
        [sys.executable, "-m", "csrlhf.sweep", *words, *TINY], cwd=ROOT, capture_output=True, text=True, check=False
    )
    logs = "".join(path.read_text() for path in root.rglob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "has no sft, reward, cost: made first, once for all runs" in done.stdout
    assert "2 of 2 runs finished" in done.stdout
    return root / "artifacts"


def test_a_local_sweep_leaves_table_plots_and_page(swept: Path) -> None:
    out = swept / "sweeps" / "small"
    rows = {row["id"]: row for row in read_runs(out / "runs.csv")}
    assert set(rows) == {"multiplier=2.0", "multiplier=8.0"}
    for row in rows.values():
        metrics = json.loads((Path(row["folder"]) / "metrics.json").read_text(encoding="utf-8"))
        assert row["selection/score"] == metrics["selection/score"]
        assert row["selection/last_reward"] == metrics["selection/last_reward"]
        assert row["best/validation/reward"] == pytest.approx(metrics["selection/best_reward"])
    assert read_record(swept / "sft") is not None
    assert not (swept / "ppo").exists(), "the sweep's runs are the sweep's"
    assert {"report.html", "plots", "sweep.json"} <= {path.name for path in out.iterdir()}
    assert list((out / "plots").glob("frontier_harm.png"))


def test_a_run_as_the_agent_starts_it_logs_the_files_metric(swept: Path, tmp_path: Path) -> None:
    from wandb.sdk.launch.sweeps import utils

    spec = read_spec(ROOT / "sweeps" / "rectified.yaml")
    args = {key: {"value": of.get("value", of.get("values", [None])[-1])} for key, of in spec.parameters.items()}
    words = utils.create_sweep_command_args({"args": args})["args_no_hyphens"]
    own = [*TINY, f"artifacts={tmp_path}", *(f"inputs.{stage}={swept / stage}" for stage in ("sft", "reward", "cost"))]
    variables = os.environ | {"WANDB_RUN_ID": "swept123", "WANDB_SWEEP_ID": "sweep123", "WANDB_MODE": "offline"}
    command = ["/usr/bin/env", sys.executable, spec.program, *spec.fixed, *words, *own]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "ppo" / "latest" / "metrics.json").read_text(encoding="utf-8"))
    assert spec.metric["name"] in metrics
    [row] = rows_in(tmp_path / "ppo")
    assert (row["strategy"], row["multiplier"], row["threshold/harm"]) == ("rectified", 16.0, 0.1)
    [run] = (tmp_path / "wandb").glob("offline-run-*-swept123")
    # W&B writes a run's history as JSON inside of records: the file's metric is among the keys
    assert spec.metric["name"].encode() in next(run.glob("*.wandb")).read_bytes()


def test_hydras_multirun_makes_runs_that_are_reported(
    swept: Path, tmp_path: Path, train: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    from csrlhf.apps import sweep

    own = [*TINY, f"artifacts={tmp_path}", *(f"inputs.{stage}={swept / stage}" for stage in ("sft", "reward", "cost"))]
    wide = ("objective=selection/score", "constraints.harm.threshold=0.5")
    code = train("-m", "stage=ppo", "logger=none", "penalty.multiplier=2.0,8.0", *wide, *own)
    assert code == 0
    assert {row["multiplier"] for row in rows_in(tmp_path / "ppo")} == {2.0, 8.0}
    assert sweep.main([str(tmp_path / "ppo"), "--report", "--out", str(tmp_path / "report")]) == 0
    assert "2 of 2 runs finished" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()


def test_a_launchers_runs_are_those_of_the_basic_one(swept: Path, tmp_path: Path) -> None:
    own = [*TINY, f"artifacts={tmp_path}", *(f"inputs.{stage}={swept / stage}" for stage in ("sft", "reward", "cost"))]
    words = ["hydra/launcher=submitit_local", "stage=ppo", "logger=none", "penalty.multiplier=2.0,8.0"]
    command = [sys.executable, "train.py", "-m", *words, "constraints.harm.threshold=0.5", *own]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["multiplier"]: row for row in rows_in(tmp_path / "ppo")}
    assert set(rows) == {2.0, 8.0}
    for row in read_runs(swept / "sweeps" / "small" / "runs.csv"):
        assert rows[row["multiplier"]]["selection/score"] == row["selection/score"], "another process, the same run"
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / ".multirun").rglob("*_log.out")]
    assert sorted(log.count("ppo: ") for log in logs) == [1, 1], "what a run prints stands in its log"
