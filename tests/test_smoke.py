"""The whole pipeline through the real command line, at the size of ``experiment=smoke``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def train(*words: str) -> str:
    command = [sys.executable, str(ROOT / "train.py"), "experiment=smoke", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_smoke_trains_compares_skips_and_keeps_runs_side_by_side(tmp_path: Path) -> None:
    artifacts = f"artifacts={tmp_path}"
    out = train(artifacts)
    assert "FEASIBLE" in out
    for stage in ("sft", "reward", "cost", "ppo/latest"):
        folder = tmp_path / stage
        names = {path.name for path in folder.iterdir()}
        assert {"config.json", "csrlhf.json", "metrics.json", "history.csv", "plots"} <= names, stage
        assert (folder / "plots" / "curves.png").exists()
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert metrics
        undefined = {key for key, value in metrics.items() if not isinstance(value, int | float)}
        assert all("precision" in key and metrics[key] is None for key in undefined), undefined  # nothing was flagged
    assert list((tmp_path / "wandb").glob("offline-run-*")), "W&B is the default tracker"

    out = train(artifacts)
    assert out.count(": unchanged, ") == 5

    out = train(artifacts, "penalty=lagrangian", "constraints.harm.threshold=0.02", "logger=none")
    assert out.count(": unchanged, ") == 3
    for stage in ("ppo", "evaluate"):
        kinds = sorted(path.name.split("-")[0] for path in (tmp_path / stage).iterdir() if not path.is_symlink())
        assert kinds == ["lagrangian", "rectified"]
