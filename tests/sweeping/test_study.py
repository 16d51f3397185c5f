"""Which points a sweep consists of, and the record that says which of them is next."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import sweeps
from csrlhf.errors import UserError
from csrlhf.sweeping.spec import Spec, read_spec
from csrlhf.sweeping.study import JOURNAL, Study, drawn, result_of, values_of

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


def points(spec: Spec, count: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    return [values_of(spec, point) for point in drawn(spec, count, seed)]


def make_all(study: Study, score: Callable[[dict[str, Any]], float]) -> list[dict[str, Any]]:
    """Takes and finishes what is left; returns the parameters."""
    found = []
    while trial := study.take():
        folder = result_of(study.out, trial.name)
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
        study.finish(trial, {"selection/score": score(trial.parameters)}, 1.0, 1)
        found.append(trial.parameters)
    return found


def test_the_last_name_moves_fastest(spec: Callable[..., Spec]) -> None:
    found = [(p["constraints.harm.threshold"], p["penalty.multiplier"]) for p in points(spec())]
    assert found == [(0.1, 2.0), (0.1, 4.0), (0.03, 2.0), (0.03, 4.0)]
    assert points(spec(), 3) == points(spec())[:3]
    assert points(spec(run_cap=2)) == points(spec())[:2]


def test_the_order_is_that_of_the_agent(spec: Callable[..., Spec]) -> None:
    parameters = {
        "seed": {"min": 1, "max": 3},
        "ppo.clip": {"distribution": "q_uniform", "min": 0.1, "max": 0.35, "q": 0.1},
        "penalty": {"value": "pid"},
        "ppo.epochs": {"values": [4, 2]},
    }
    found = points(spec(parameters=parameters))
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
    found = points(one, 6, seed=1)
    assert (random.random(), float(np.random.random())) == before, "other people's random numbers are left alone"
    assert points(one, 6, seed=1) == found
    assert points(one, 4, seed=1) == found[:4]
    assert points(one, 6, seed=2) != found
    assert all(0.01 <= point["ppo.kl_coef"] <= 1.0 and point["ppo.epochs"] in (1, 2, 4) for point in found)
    assert all(type(value) in (int, float) for point in found for value in point.values()), "no numpy in the words"


DISTRIBUTIONS = {
    "uniform": {"min": 1.0, "max": 3.0},
    "int_uniform": {"min": 1, "max": 9},
    "q_uniform": {"min": 1.0, "max": 3.0, "q": 0.5},
    "log_uniform_values": {"min": 0.1, "max": 10.0},
    "log_uniform": {"min": -1.0, "max": 2.0},
    "q_log_uniform": {"min": 1.0, "max": 4.0, "q": 1},
    "q_log_uniform_values": {"min": 1.0, "max": 60.0, "q": 1},
    "inv_log_uniform_values": {"min": 0.1, "max": 10.0},
    "inv_log_uniform": {"min": -1.0, "max": 2.0},
    "normal": {"mu": 2.0, "sigma": 3.0},
    "q_normal": {"mu": 2.0, "sigma": 3.0, "q": 2},
    "log_normal": {"mu": 1.0, "sigma": 0.5},
    "q_log_normal": {"mu": 1.0, "sigma": 0.5, "q": 1},
    "categorical_w_probabilities": {"values": [1.0, 5.0, 8.0], "probabilities": [0.2, 0.7, 0.1]},
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_are_distributed_as_the_agents(spec: Callable[..., Spec], name: str) -> None:
    parameters = {"ppo.clip": {"distribution": name, **DISTRIBUTIONS[name]}}
    ours = sorted(point["ppo.clip"] for point in points(spec(method="random", parameters=parameters), 2000))
    np.random.seed(0)
    runs = sweeps.next_runs({"method": "random", "parameters": parameters}, [], n=2000)
    theirs = sorted(float(run.config["ppo.clip"]["value"]) for run in runs if run is not None)
    spread = statistics.stdev(theirs)
    apart = [abs(one - other) for one, other in zip(ours, theirs, strict=True)]
    assert math.fsum(apart) / len(apart) < 0.1 * spread, "the distance between two samples of 2000 is about 0.04 of it"
    assert type(ours[0]) is (
        int if name == "int_uniform" or isinstance(parameters["ppo.clip"].get("q"), int) else float
    )


def test_bayes_learns_from_finished_runs(spec: Callable[..., Spec], tmp_path: Path) -> None:
    one = spec(method="bayes", parameters={"ppo.kl_coef": {"min": 0.0, "max": 1.0}})
    found = make_all(Study(one, tmp_path / "out", 24), lambda point: -abs(point["ppo.kl_coef"] - 0.8))
    late = [abs(point["ppo.kl_coef"] - 0.8) for point in found[12:]]
    assert math.fsum(late) / len(late) < 0.15, "evenly drawn points lie 0.34 away"
    assert make_all(Study(one, tmp_path / "again", 24), lambda point: -abs(point["ppo.kl_coef"] - 0.8)) == found
    assert make_all(Study(one, tmp_path / "other", 24, seed=1), lambda point: 0.0)[0] != found[0]


def test_bayes_ends_where_there_is_nothing_new(spec: Callable[..., Spec], tmp_path: Path) -> None:
    one = spec(method="bayes", parameters={"ppo.epochs": {"values": [1, 2, 4]}})
    found = make_all(Study(one, tmp_path, 10), lambda point: math.nan)
    assert sorted(point["ppo.epochs"] for point in found) == [1, 2, 4]


def test_the_record_is_optunas(spec: Callable[..., Spec], tmp_path: Path) -> None:
    study = Study(spec(), tmp_path, 3)
    first = study.take()
    assert first is not None
    study.fail(first, {"exit_code": 1})
    make_all(study, lambda point: point["penalty.multiplier"])
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL)))
    theirs = optuna.load_study(study_name=None, storage=storage)
    assert [trial.state.name for trial in theirs.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert theirs.best_trial.params == {"constraints.harm.threshold": 0.1, "penalty.multiplier": 4.0}
    assert theirs.best_value == 4.0


def test_two_calls_share_the_runs_and_a_killed_one_leaves_its_to_the_other(
    spec: Callable[..., Spec], tmp_path: Path
) -> None:
    one, other = Study(spec(), tmp_path), Study(spec(), tmp_path)
    first, second = one.take(), other.take()
    assert first is not None
    assert second is not None
    assert first.name != second.name
    one.close()  # as the end of its process does
    again = other.take()
    assert again is not None
    assert (again.number, again.name) == (first.number, first.name), "a half run before a new one"
    assert other.missing() == 4


def test_another_version_makes_a_run_again(
    spec: Callable[..., Spec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_all(Study(spec(), tmp_path), lambda point: 1.0)
    assert Study(spec(), tmp_path).missing() == 0
    monkeypatch.setattr("csrlhf.sweeping.study.__version__", "9")
    assert Study(spec(), tmp_path).missing() == 4
    trial = Study(spec(), tmp_path).take()
    assert trial is not None
    lines = (tmp_path / JOURNAL).read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["user_attrs"]["version"] == "9"


def test_a_result_that_was_deleted_is_made_again(spec: Callable[..., Spec], tmp_path: Path) -> None:
    make_all(Study(spec(), tmp_path), lambda point: 1.0)
    (result_of(tmp_path, "threshold=0.03+multiplier=2.0") / "metrics.json").unlink()
    trial = Study(spec(), tmp_path).take()
    assert trial is not None
    assert trial.name == "threshold=0.03+multiplier=2.0"


def test_a_torn_line_is_cut_off(spec: Callable[..., Spec], tmp_path: Path) -> None:
    make_all(Study(spec(), tmp_path, 2), lambda point: 1.0)
    with (tmp_path / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write('{"op_code": 4, "worker')
    assert len(make_all(Study(spec(), tmp_path), lambda point: 1.0)) == 2
    assert Study(spec(), tmp_path).missing() == 0


def test_random_needs_an_end(spec: Callable[..., Spec]) -> None:
    with pytest.raises(UserError, match="--count: method=random has no end of its own"):
        drawn(spec(method="random", parameters=RANGES), None, 0)
