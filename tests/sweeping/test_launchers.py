"""Hydra's multirun in processes of a launcher: submitit's local one does on this machine what SLURM does on many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_mistake_in_one_run_is_told_in_one_line_where_the_runs_were_started(tmp_path: Path) -> None:
    words = ["-m", "hydra/launcher=submitit_local", "stage=ppo", "inputs.sft=./wide,./narrow", f"artifacts={tmp_path}"]
    command = [sys.executable, "train.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: inputs.sft=./wide: there is no such folder")
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / ".multirun").rglob("*_log.err")]
    assert sorted(line.split(":")[1] for log in logs for line in log.splitlines() if line.startswith("error:")) == [
        " inputs.sft=./narrow",
        " inputs.sft=./wide",
    ], "each run's log says what it was"
