"""The whole pipeline through the real command line: ``experiment=smoke``, still less of all: no number is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(900)
def test_smoke_trains_compares_skips_and_keeps_runs_side_by_side(command_line: Callable, tmp_path: Path) -> None:
    words = ["experiment=smoke", "data_size=batch", f"artifacts={tmp_path}"]
    words += ["reward.max_steps=4", "cost.epochs=1", "ppo.iterations=2"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    out = done.stdout
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

    def again(*more: str) -> str:
        outcome = command_line(*words, *more)
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.out

    assert again().count(": unchanged, ") == 5

    out = again("penalty=lagrangian", "constraints.harm.threshold=0.02", "logger=none", "callbacks.plots=null")
    assert out.count(": unchanged, ") == 3
    for stage in ("ppo", "evaluate"):
        kinds = sorted(path.name.split("-")[0] for path in (tmp_path / stage).iterdir() if not path.is_symlink())
        assert kinds == ["lagrangian", "rectified"]
