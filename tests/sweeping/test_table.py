"""What is read from a finished run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.sweeping.table import read_outcome, read_runs, rows_in, strategy_of, write_runs


def run_folder(folder: Path, penalty: dict[str, Any], weights: list[float], looks: list[tuple[float, ...]]) -> Path:
    """A run with so many iterations, and evaluations (reward, cost, iteration) after the last one; 10 is selected."""
    folder.mkdir(parents=True)
    config = {
        "penalty": penalty,
        "constraints": {"harm": {"_target_": "csrlhf.constraints.mean.Mean", "threshold": 0.2}},
        "seed": 4,
    }
    (folder / "csrlhf.json").write_text(json.dumps({"stage": "ppo", "fingerprint": "f", "config": config}))
    (folder / "metrics.json").write_text(
        json.dumps({"selection/best_reward": 0.5, "selection/best_iteration": 10.0, "policy/loss": None})
    )
    lines = [
        "step,penalty/weight,penalty/multiplier,policy/kl_coef,validation/reward,validation/harm/cost,selection/iteration"
    ]
    lines += [f"{step},{weight},{weight},0.1,,," for step, weight in enumerate(weights)]
    lines += [f"{len(weights)},,,,{reward},{cost},{iteration}" for reward, cost, iteration in looks]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder


RECTIFIED = {"_target_": "csrlhf.penalties.rectified.Rectified", "multiplier": 8.0, "normaliser": "fixed"}


def test_the_policy_handed_over_and_where_training_settled(tmp_path: Path) -> None:
    looks = [(0.1, 0.5, 1), (0.3, 0.2, 10), (0.4, 0.3, 15), (0.5, 0.4, 20), (0.6, 0.5, 25), (0.7, 0.7, 30)]
    row = read_outcome(run_folder(tmp_path / "a", RECTIFIED, [8.0] * 6 + [0.0] * 6, looks))
    assert (row["strategy"], row["multiplier"], row["threshold/harm"], row["seed"]) == ("rectified", 8.0, 0.2, 4)
    assert row["statistic/harm"] == "mean"
    assert (row["best/validation/reward"], row["best/validation/harm/cost"]) == (0.3, 0.2), "of iteration 10"
    assert row["late/validation/reward"] == pytest.approx(0.65), "the last two of six"
    assert row["late/penalty/weight"] == 0.0
    assert row["selection/best_reward"] == 0.5


def test_a_gate_and_a_dual_tell_the_multiplier_of_a_constant_normaliser_alone(tmp_path: Path) -> None:
    gates = [8.0, 0.0, 0.0, 0.0] * 30
    looks = [(0.1, 0.5, 1)]
    row = read_outcome(run_folder(tmp_path / "a", RECTIFIED, gates, looks))
    assert row["lambda_star/value"] == pytest.approx(2.0, rel=0.15)
    assert row["lambda_star/lower"] < row["lambda_star/value"] < row["lambda_star/upper"]
    moving = run_folder(tmp_path / "b", RECTIFIED | {"normaliser": "weights"}, gates, looks)
    assert "lambda_star/value" not in read_outcome(moving)
    dual = {"_target_": "csrlhf.penalties.lagrangian.Lagrangian", "multiplier": 1.0}
    row = read_outcome(run_folder(tmp_path / "c", dual, [3.0, 3.2] * 60, looks))
    assert row["lambda_star/value"] == pytest.approx(3.1, rel=0.01)


def test_a_folder_of_runs_is_a_table_too(tmp_path: Path) -> None:
    folder = tmp_path / "ppo"
    run_folder(folder / "a", RECTIFIED, [8.0], [(0.1, 0.5, 1)])
    (folder / "latest").symlink_to("a", target_is_directory=True)
    rows = rows_in(folder)
    assert [row["id"] for row in rows] == ["a"]
    write_runs(folder / "runs.csv", rows)
    [back] = read_runs(folder / "runs.csv")
    assert back == {key: value for key, value in rows[0].items() if value is not None}
    with pytest.raises(UserError, match="neither a sweep's folder"):
        rows_in(tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no result of stage=ppo"):
        read_outcome(tmp_path)
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"runs\.csv: no table of runs, the column id is missing"):
        rows_in(tmp_path)


def test_strategies_are_called_as_on_the_command_line() -> None:
    assert strategy_of("csrlhf.penalties.augmented_lagrangian.AugmentedLagrangian") == "augmented_lagrangian"
    assert strategy_of("somebody.penalty.Mine") == "Mine"
