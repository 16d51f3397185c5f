"""Hydra's multirun in processes of a launcher: submitit's local one does on this machine what SLURM does on many."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from csrlhf import search_path

ROOT = Path(__file__).resolve().parents[2]


def test_a_mistake_in_one_run_is_told_in_one_line_where_the_runs_were_started(tmp_path: Path) -> None:
    words = ["-m", "hydra/launcher=submitit_local", "stage=ppo", "ppo.clip=wide,narrow", f"artifacts={tmp_path}"]
    command = [sys.executable, "train.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ppo.clip=wide: takes a number")
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / ".multirun").rglob("*_log.err")]
    assert sorted(line.split(":")[1] for log in logs for line in log.splitlines() if line.startswith("error:")) == [
        " ppo.clip=narrow",
        " ppo.clip=wide",
    ], "each run's log says what it was"


PAGE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8").replace("\\\n", "")
COMMANDS = re.findall(r"^python train.py -m (hydra/launcher=submitit\S* .*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pages_commands_are_composed(command: str) -> None:
    words = [re.sub(r",.*", "", word) for word in shlex.split(command)]  # the first of each list
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        cfg = compose("train", overrides=words, return_hydra_config=True)
    assert cfg.hydra.launcher._target_.startswith("hydra_plugins.hydra_submitit_launcher")
    assert cfg.hydra.launcher.submitit_folder.startswith(f"{cfg.artifacts}/.multirun/.submitit/")


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 2
