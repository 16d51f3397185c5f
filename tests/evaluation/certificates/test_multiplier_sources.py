"""Where λ* is read from: the run itself, a dual run, a sweep; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.certificates.multiplier_sources import diagnostic as of_readings
from csrlhf.evaluation.certificates.multiplier_sources import read_multipliers

RECTIFIED = {
    "_target_": "csrlhf.penalties.rectified.Rectified",
    "multiplier": 8.0,
    "normaliser": "fixed",
    "gate": "leave_one_out",
}
DUAL = {"_target_": "csrlhf.penalties.lagrangian.Lagrangian", "multiplier": 1.0}


def diagnostic(policy: Path, sources: list[str], certified: dict[str, bool], span: float | None) -> Any:
    return of_readings(read_multipliers(policy, sources, list(certified)), certified, span)


def run(folder: Path, penalty: dict[str, Any], column: str, values: list[float]) -> Path:
    folder.mkdir()
    record = {"stage": "ppo", "fingerprint": "f", "config": {"penalty": penalty}}
    (folder / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    lines = [f"step,{column}", *(f"{step},{value}" for step, value in enumerate(values)), "99,"]
    (folder / "history.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Open in every fourth iteration: λ* is about 2."""
    return run(tmp_path / "own", RECTIFIED, "penalty/weight", [8.0 if i % 4 == 0 else 0.0 for i in range(120)])


def test_two_ways_pass_and_one_does_not(policy: Path, tmp_path: Path) -> None:
    alone = diagnostic(policy, [], {"harm": True}, 4.0)
    assert "not a certificate" in alone["note"]
    harm = alone["constraints"]["harm"]
    assert (harm["passed"], harm["duty"], harm["crude"]) == (False, 0.25, 0.5)
    dual = run(tmp_path / "dual", DUAL, "penalty/multiplier", [2.0 + 0.1 * (-1) ** i for i in range(120)])
    both = diagnostic(policy, [str(dual)], {"harm": True}, None)
    assert both["constraints"]["harm"]["passed"] is True
    assert len(both["constraints"]["harm"]["estimates"]) == 2
    refused = diagnostic(policy, [str(dual)], {"harm": False}, None)
    assert refused["constraints"]["harm"]["passed"] is False


def test_a_sweep_says_it_in_a_file(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    content = {"value": 2.5, "lower": 2.0, "upper": None, "method": "frontier slope at d", "points": [1, 2, 3]}
    (tmp_path / "sweep" / "lambda_star.json").write_text(json.dumps(content), encoding="utf-8")
    found = diagnostic(policy, [str(tmp_path / "sweep")], {"harm": True}, None)
    estimate = found["constraints"]["harm"]["estimates"]["frontier slope at d"]
    assert (estimate["value"], estimate["upper"], estimate["count"]) == (2.5, float("inf"), 3)
    assert found["constraints"]["harm"]["passed"] is False  # an open end says nothing from above


def test_several_constraints_have_columns_of_their_own(tmp_path: Path) -> None:
    both = RECTIFIED | {"multiplier": {"harm": 8.0, "privacy": 4.0}}
    policy = run(tmp_path / "own", both, "penalty/privacy/weight", [4.0, 0.0] * 60)
    found = diagnostic(policy, [], {"harm": True, "privacy": True}, None)
    assert found["constraints"]["privacy"]["duty"] == 0.5
    assert found["constraints"]["harm"]["duty"] is None  # no such column


def test_other_policies_have_no_diagnostic(tmp_path: Path) -> None:
    dual = run(tmp_path / "dual", DUAL, "penalty/multiplier", [1.0] * 30)
    assert diagnostic(dual, [], {"harm": True}, None) is None
    assert diagnostic(tmp_path, [], {"harm": True}, None) is None
    with pytest.raises(UserError, match=r"certify\.lambda_from=x: the diagnostic is about a fixed"):
        diagnostic(dual, ["x"], {"harm": True}, None)


def test_a_folder_that_tells_nothing_is_named(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"certify\.lambda_from=.*empty: holds neither"):
        diagnostic(policy, [str(tmp_path / "empty")], {"harm": True}, None)
    with pytest.raises(UserError, match="is fixed"):
        diagnostic(policy, [str(policy)], {"harm": True}, None)
    (tmp_path / "empty" / "lambda_star.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"lambda_star\.json: is not what a sweep writes"):
        diagnostic(policy, [str(tmp_path / "empty")], {"harm": True}, None)


def test_a_short_run_leaves_its_way_out_and_says_so(policy: Path, tmp_path: Path) -> None:
    short = run(tmp_path / "short", RECTIFIED, "penalty/weight", [8.0, 0.0] * 4)
    harm = diagnostic(short, [], {"harm": True}, 4.0)["constraints"]["harm"]
    assert (harm["passed"], harm["duty"], harm["estimates"], harm["crude"]) == (False, None, {}, 0.5)
    (words,) = harm["unavailable"]
    assert words.startswith("the run's own duty cycle: values: 8 iterations are too few")
    dual = run(tmp_path / "dual", DUAL, "penalty/multiplier", [1.0] * 30)
    harm = diagnostic(policy, [str(dual)], {"harm": True}, None)["constraints"]["harm"]
    assert len(harm["estimates"]) == 1
    assert "dual: values: 30 iterations are too few" in harm["unavailable"][0]


def test_a_normaliser_that_follows_the_gate_is_no_reading(tmp_path: Path) -> None:
    policy = run(tmp_path / "own", RECTIFIED | {"normaliser": "weights"}, "penalty/weight", [8.0, 0.0] * 60)
    harm = diagnostic(policy, [], {"harm": True}, None)["constraints"]["harm"]
    assert "penalty.normaliser=weights" in harm["unavailable"][0]
    assert not harm["estimates"]


def test_a_margin_shifts_the_threshold_that_the_duty_cycle_speaks_of(policy: Path, tmp_path: Path) -> None:
    assert diagnostic(policy, [], {"harm": True}, None)["constraints"]["harm"]["notes"] == []
    shifted = run(tmp_path / "margin", RECTIFIED | {"margin_z": 2.0}, "penalty/weight", [8.0, 0.0] * 60)
    (note,) = diagnostic(shifted, [], {"harm": True}, None)["constraints"]["harm"]["notes"]
    assert note.startswith("penalty.margin_z = 2: the gate opens at d' = d - 2 se(J)")


def test_without_a_penalty_there_is_nothing_to_diagnose(tmp_path: Path) -> None:
    policy = run(
        tmp_path / "own", RECTIFIED | {"multiplier": {"harm": 0.0, "other": 3.0}}, "penalty/weight", [0.0] * 60
    )
    assert diagnostic(policy, [], {"harm": True}, None) is None
    assert diagnostic(policy, [], {"unknown": True}, None) is None
