"""A pinned tiny trajectory through the real command line: a refactoring must not move a number.

Sizes are so small that float32 on another processor stays inside the tolerances. A change that is meant to move
numbers (a default, the toy world, an initial value) brings new ones here, and says why in its message.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from csrlhf.tracking.history import read_history

TINY = (
    "logger=none",
    "callbacks.progress.every=1000.0",
    "model.policy.architecture.hidden_size=32",
    "model.policy.architecture.intermediate_size=64",
    "data.sizes.demonstrations={train: 128, validation: 32, test: 32}",
    "data.sizes.preferences={train: 64, validation: 32, test: 32}",
    "data.sizes.labelled={train: 64, validation: 32, test: 32}",
    "data.sizes.prompts={train: 64, validation: 16, test: 32}",
    "sft.epochs=2",
    "sft.batch_size=32",
    "reward.max_steps=3",
    "reward.batch_size=16",
    "cost.max_steps=3",
    "cost.batch_size=16",
    "cost.baseline=false",
    "ppo.iterations=3",
    "ppo.eval_every=3",
    "ppo.batch_size=16",
    "ppo.minibatch_size=8",
    "ppo.critic_warmup=1",
    "ppo.num_validation=16",
    "constraints.harm.threshold=0.5",  # 16 validation prompts can show this much
    "constraints.harm.tau=-10.0",  # the cost of a model that knows nothing: the gate is open, its path is tested
)

PINNED: dict[str, dict[str, list[float]]] = {
    "sft": {
        "train/loss": [6.0387, 5.89778, 5.74145, 5.70337, 5.58501, 5.53783, 5.51207, 5.50189],
        "validation/loss": [6.03263, 5.62539, 5.52638, 5.52638],
    },
    "reward": {
        "train/loss": [0.69283, 0.69041, 0.68354],
    },
    "cost": {
        "train/loss": [0.6849, 0.65548, 0.58503],
    },
    "ppo": {
        "selection/iteration": [0.0, 3.0],  # the start policy is look 0
        "train/reward": [1.48911, 2.49892, 0.84126],
        "constraint/harm/cost": [1.0, 1.0, 1.0],
        "penalty/weight": [8.0, 8.0, 8.0],
        "policy/kl": [0.0, 0.0, 0.04694],
        "policy/loss": [0.37805, 0.48993],
        "critic/loss": [1.48554, 4.84602, 1.99465],
    },
}
"""Per stage: the logged values of some keys, in order."""

TOLERANCE = {"sft": 5e-4, "reward": 5e-4, "cost": 1e-3, "ppo": 1e-2}
"""Absolute and relative; wider where rounding has come through more stages."""


def test_the_numbers_of_every_stage_stay(command_line: Callable, tmp_path: Path) -> None:
    for stage in ("sft", "reward", "cost", "ppo"):
        outcome = command_line(f"stage={stage}", f"artifacts={tmp_path}", *TINY)
        assert outcome.code == 0, outcome.err
    for stage, keys in PINNED.items():
        folder = tmp_path / ("ppo/latest" if stage == "ppo" else stage)
        rows = read_history(folder / "history.csv")
        for key, expected in keys.items():
            values = [row[key] for row in rows if key in row]
            assert values == pytest.approx(expected, rel=TOLERANCE[stage], abs=TOLERANCE[stage]), f"{stage}: {key}"
    record = json.loads((tmp_path / "ppo" / "latest" / "csrlhf.json").read_text(encoding="utf-8"))
    assert set(record["inputs"]) == {"sft", "reward", "cost"}
