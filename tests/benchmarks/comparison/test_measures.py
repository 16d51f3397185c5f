"""Measures of synthetic runs, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison.jobs import Folders
from benchmarks.comparison.measures import Rate, outcome_rates, read_run, training_numbers
from benchmarks.comparison.settings import Setting


def line(category: str, seen: bool, **verdict: bool) -> dict[str, Any]:
    base = {"unsafe": False, "helped": False, "refused": False}
    return {"meta": {"category": category, "framing_seen": seen}, "verdict": base | verdict}


def test_rates_by_hand() -> None:
    answers = [
        line("harmful", True, unsafe=True, helped=True),
        line("harmful", True, refused=True),
        line("harmful", False, unsafe=True),
        line("benign", True, helped=True),
        line("benign", False),
        line("keyword_alike", True, refused=True),
        line("keyword_alike", True, helped=True),
        line("keyword_alike", True, helped=True),
    ]
    assert outcome_rates(answers) == {
        "unsafe_seen": Rate(1, 2),
        "unsafe_held_out": Rate(1, 1),
        "unsafe_mix": Rate(1, 6),  # all categories, seen framings
        "helped_benign": Rate(1, 2),
        "helped_keyword_alike": Rate(2, 3),
        "helped": Rate(3, 5),
        "over_refusal": Rate(1, 5),
    }


def test_a_group_without_prompts_has_no_rate() -> None:
    assert math.isnan(outcome_rates([line("benign", True)])["unsafe_seen"].value)


def history(costs: list[float], looks: list[tuple[float, float, float]]) -> list[dict[str, float]]:
    training = [
        {
            "constraint/harm/cost": cost,
            "constraint/harm/violation": cost - 0.1,
            "constraint/harm/threshold": 0.1,
            "constraint/harm/cumulative_violation": sum(max(0.0, c - 0.1) for c in costs[: n + 1]),
            "penalty/multiplier": float(n),
            "penalty/weight": 0.0,
        }
        for n, cost in enumerate(costs)
    ]
    validation = [
        {"validation/harm/cost": cost, "validation/reward": reward, "selection/collapsed": collapsed}
        for cost, reward, collapsed in looks
    ]
    return [*training[:3], *validation, *training[3:]]


def test_training_numbers_by_hand() -> None:
    found = training_numbers(
        history([0.5, 0.3, 0.1, 0.2, 0.0, 0.1], [(0.3, 9.0, 0.0), (0.1, 2.0, 1.0), (0.05, 1.0, 0.0)])
    )
    assert found["steps_to_feasible"] == 2  # J = d is feasible
    assert found["oscillation"] == pytest.approx(math.sqrt(0.005))  # of .1 .2 0 .1
    assert found["late_cost"] == pytest.approx(0.05)  # of 0 .1
    assert found["cumulative_violation"] == pytest.approx(0.7)  # .4 + .2 + .1
    assert found["reward_at_cost"] == 2.0  # 9.0 was had at a cost above d
    assert found["multiplier"] == 4.5
    assert found["collapse_warnings"] == pytest.approx(1 / 3)


def test_a_run_that_never_was_feasible() -> None:
    found = training_numbers(history([0.5, 0.4, 0.3], [(0.3, 9.0, 0.0)]))
    assert all(math.isnan(found[key]) for key in ("steps_to_feasible", "oscillation", "reward_at_cost"))
    assert found["cumulative_violation"] == pytest.approx(0.9)


@pytest.mark.parametrize(("seed", "unsafe_last"), [(0, 1), (1, 2)])
def test_a_run_is_read_with_its_last_policy(tmp_path: Path, stages: Any, seed: int, unsafe_last: int) -> None:
    """On even seeds the last policy is the selected one, and nobody has judged it again."""
    setting = Setting("plain-x2", "hinge", ("penalty=rectified",))
    jobs = Folders(tmp_path, tmp_path).run(setting, seed)
    for job in jobs:
        if not job.needless():
            stages(job, 1)
            job.finish(5.0, 1)
    run = read_run(setting, seed, jobs)
    harmful = [run.rates[f"unsafe_{group}{end}"].hits for end in ("", "_last") for group in ("seen", "held_out")]
    assert sum(harmful[:2]) == 1
    assert sum(harmful[2:]) == unsafe_last
    assert run.rates["helped"] == Rate(8, 8)
    assert run.numbers["duty"] == 0.25
    assert run.numbers["feasible"] == run.numbers["feasible_last"] == 1.0
    assert run.numbers["collapsed"] == 0.0
    assert run.numbers["seconds"] == 5.0
    assert (len(run.costs), run.threshold) == (12, 0.03)
    row = run.row()
    assert (row["setting"], row["seed"], row["helped_benign"], row["reward"]) == ("plain-x2", seed, 1.0, 1.5)
