"""The whole pipeline through the real command line: ``experiment=smoke``, on fewer rows as no number is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(900)
def test_smoke_trains_tracks_draws_and_skips_what_stands(command_line: Callable, tmp_path: Path) -> None:
    words = ["experiment=smoke", "data_size=batch", f"artifacts={tmp_path}"]
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

    outcome = command_line(*words)
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.out.count(": unchanged, ") == 5
