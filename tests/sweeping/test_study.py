"""Which points a sweep consists of: W&B's order of the grid, and seeded draws."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sweeps
from csrlhf.errors import UserError
from csrlhf.sweeping.spec import Spec, read_spec
from csrlhf.sweeping.suggestions import Tried, drawn, grid, improved

Write = Callable[[dict[str, Any]], Path]
RANGES = {
    "ppo.kl_coef": {"distribution": "log_uniform_values", "min": 0.01, "max": 1.0},
    "ppo.epochs": {"values": [1, 2, 4]},
}


@pytest.fixture
def spec(content: dict[str, Any], write: Write) -> Callable[..., Spec]:
    def make(**changes: Any) -> Spec:
        return read_spec(write(content | changes))

    return make


def test_the_last_name_moves_fastest(spec: Callable[..., Spec]) -> None:
    points = [(p["constraints.harm.threshold"], p["penalty.multiplier"]) for p in grid(spec())]
    assert points == [(0.1, 2.0), (0.1, 4.0), (0.03, 2.0), (0.03, 4.0)]
    assert grid(spec(), 3) == grid(spec())[:3]
    assert grid(spec(run_cap=2)) == grid(spec())[:2]


def test_the_order_is_that_of_the_package(spec: Callable[..., Spec]) -> None:
    parameters = {
        "seed": {"min": 1, "max": 3},
        "ppo.clip": {"distribution": "q_uniform", "min": 0.1, "max": 0.35, "q": 0.1},
        "penalty": {"value": "pid"},
        "ppo.epochs": {"values": [4, 2]},
    }
    found = grid(spec(parameters=parameters))
    runs = sweeps.next_runs({"method": "grid", "parameters": parameters}, [], n=100)
    theirs = [{key: of["value"] for key, of in run.config.items()} for run in runs if run is not None]
    assert len(found) == 3 * 3 * 2
    assert found == [dict(sorted(point.items())) for point in theirs]


def test_draws_depend_on_the_seed_alone_and_a_longer_sweep_begins_like_a_shorter_one(spec: Callable[..., Spec]) -> None:
    one = spec(method="random", parameters=RANGES)
    random.seed(5)
    np.random.seed(5)
    before = random.random(), float(np.random.random())
    random.seed(5)
    np.random.seed(5)
    found = drawn(one, 6, seed=1)
    assert (random.random(), float(np.random.random())) == before, "other people's random numbers are left alone"
    assert drawn(one, 6, seed=1) == found
    assert drawn(one, 4, seed=1) == found[:4]
    assert drawn(one, 6, seed=2) != found
    assert all(0.01 <= point["ppo.kl_coef"] <= 1.0 and point["ppo.epochs"] in (1, 2, 4) for point in found)
    assert all(type(value) in (int, float) for point in found for value in point.values()), "no numpy in the words"


def test_bayes_learns_from_finished_runs(spec: Callable[..., Spec]) -> None:
    one = spec(method="bayes", parameters={"ppo.kl_coef": {"min": 0.0, "max": 1.0}})
    tried: list[Tried] = []
    for _ in range(8):
        for point in improved(one, tried, 2, seed=0):
            tried.append(Tried(point, -abs(point["ppo.kl_coef"] - 0.8)))
    late = [abs(of.parameters["ppo.kl_coef"] - 0.8) for of in tried[8:]]
    assert math.fsum(late) / len(late) < 0.25, "evenly drawn points lie 0.34 away"
    failed = [*tried, Tried({"ppo.kl_coef": 0.5}, None, failed=True), Tried({"ppo.kl_coef": 0.4}, None)]
    assert len(improved(one, failed, 1, seed=0)) == 1


def test_without_the_package_the_grid_still_works(spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sweeps", None)
    assert len(grid(spec())) == 4
    with pytest.raises(UserError, match=r"method=random: .*pip install 'wandb\[sweeps\]'.*grid works without"):
        drawn(spec(method="random", parameters=RANGES), 2, seed=0)


def test_what_the_package_refuses_is_said_in_one_line(spec: Callable[..., Spec]) -> None:
    one = spec(method="random", parameters={"seed": {"distribution": "int_uniform", "min": 1, "max": 3, "q": 2}})
    with pytest.raises(UserError, match=r"sweep: .*not valid"):
        drawn(one, 2, seed=0)
