"""Sweep files, a program that stands in for the training, and rows of finished runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CONTENT: dict[str, Any] = {
    "program": "train.py",
    "command": ["${env}", "python", "${program}", "stage=ppo", "${args_no_hyphens}"],
    "method": "grid",
    "metric": {"name": "selection/score", "goal": "maximize"},
    "parameters": {
        "penalty.multiplier": {"values": [2.0, 4.0]},
        "constraints.harm.threshold": {"values": [0.1, 0.03]},
    },
}

PROGRAM = '''
"""Writes what stage=ppo writes: the more λ, the less cost and reward. Waits or fails where a file says so."""
import json, os, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
here = pathlib.Path(__file__).parent
name, out = words["name"].strip("'"), pathlib.Path(words["artifacts"].strip("'"))
with (here / "calls.txt").open("a") as calls:
    calls.write(name + "\\n")
try:
    while (here / "wait").exists() and name in (here / "wait").read_text():
        time.sleep(0.05)
except KeyboardInterrupt:
    sys.exit(130)
if (here / "fail").exists() and name in (here / "fail").read_text():
    sys.exit("the loss is not finite")
multiplier, threshold = float(words["penalty.multiplier"]), float(words["constraints.harm.threshold"])
cost = min(0.2 / multiplier, threshold)
folder = out / "ppo" / name
folder.mkdir(parents=True)
config = {
    "penalty": {"_target_": "csrlhf.penalties.rectified.Rectified", "multiplier": multiplier, "normaliser": "fixed"},
    "constraints": {"harm": {"_target_": "csrlhf.constraints.chance.Chance", "threshold": threshold}},
    "seed": 0,
}
(folder / "csrlhf.json").write_text(json.dumps({"stage": "ppo", "fingerprint": name, "config": config}))
metrics = {
    "selection/score": cost ** 0.5, "selection/best_reward": cost ** 0.5, "selection/best_feasible": 1.0,
    "selection/best_excess": -0.01, "selection/best_iteration": 3.0,
}
(folder / "history.csv").write_text(
    "step,policy/kl_coef,penalty/weight,validation/reward,validation/harm/cost,validation/kl,selection/iteration\\n"
    + "".join(f"{step},0.1,{multiplier},,,,\\n" for step in range(3))
    + f"2,,,{cost ** 0.5},{cost},1.0,3.0\\n"
)
(folder / "metrics.json").write_text(json.dumps(metrics))
'''


@pytest.fixture
def content() -> dict[str, Any]:
    """A sweep file's content, to change."""
    return json.loads(json.dumps(CONTENT))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a sweep file."""

    def call(content: dict[str, Any]) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path

    return call


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The stand-in, and models that it does not read."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    for stage in ("sft", "reward", "cost"):
        (tmp_path / "models" / stage).mkdir(parents=True)
        record = {"stage": stage, "fingerprint": f"{stage}-1"}
        (tmp_path / "models" / stage / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    return path


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """The names of the runs that the stand-in was started for, in order."""
    path = tmp_path / "calls.txt"
    return lambda: path.read_text(encoding="utf-8").split() if path.exists() else []
