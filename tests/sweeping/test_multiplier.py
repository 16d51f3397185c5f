"""λ* from the frontier's slope: by hand on one seed, and within seeds where a pooled fit is fooled."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from csrlhf.report import LIGHT
from csrlhf.stats.lambda_star import frontier_slope
from csrlhf.sweeping import figures
from csrlhf.sweeping.multiplier import slope
from csrlhf.sweeping.report import write_report
from csrlhf.sweeping.table import write_runs

D = 0.05
LOW = (0.02, 0.04, 0.06, 0.08)


def row(name: str, cost: float, reward: float, **more: Any) -> dict[str, Any]:
    """A finished run that settled there."""
    base = {
        "id": name, "status": "finished", "strategy": "linear", "multiplier": 1.0, "threshold/harm": D,
        "statistic/harm": "chance", "late/policy/kl_coef": 0.1, "late/validation/harm/cost": cost,
        "late/validation/reward": reward, "late/validation/kl": 0.0,
    }  # fmt: skip
    return base | more


def runs(seed: int, slopes: tuple[float, ...], height: float = 0.0, costs: tuple[float, ...] = LOW) -> list[dict]:
    """The runs of a seed on a frontier with these slopes between neighbours, at a height of its own."""
    found, reward = [], height
    for place, cost in enumerate(costs):
        reward += slopes[place - 1] * (cost - costs[place - 1]) if place else 0.0
        found.append(row(f"s{seed}-{place}", cost, reward, seed=float(seed)))
    return found


def test_the_slope_is_that_of_reward_less_kl_at_the_threshold() -> None:
    # r - 0.1 KL: 0.0 at 0.01, 0.2 at 0.05, 0.25 at 0.1: slopes 5 and 1
    rows = [row("a", 0.01, 0.0), row("b", 0.05, 0.5, **{"late/validation/kl": 3.0}), row("c", 0.1, 0.25)]
    found = slope(rows, "harm", 0.03)
    assert found.value == pytest.approx(5.0)
    assert found.lower == pytest.approx(1.0)
    assert found.upper == math.inf
    assert found.reason == ""
    assert found.words == "frontier slope at d of 1 seed, 3 runs"
    assert slope(rows, "harm", 0.08).value == pytest.approx(1.0)
    assert "smaller λ" in slope(rows, "harm", 0.2).reason
    assert "1 finished run; the slope needs two or more" in slope(rows[:1], "harm", 0.03).reason


def test_seeds_at_other_heights_do_not_fool_it() -> None:
    """Slope 5 within every seed; the best seed spends more everywhere, and a hull over all runs climbs to it."""
    shifted = runs(2, (5.0, 5.0, 2.0), height=2.0, costs=(0.07, 0.08, 0.09, 0.1))
    rows = [*runs(0, (8.0, 5.0, 2.0)), *shifted, *runs(1, (8.0, 5.0, 2.0), height=-0.3)]
    costs, rewards = ([one[f"late/validation/{key}"] for one in rows] for key in ("harm/cost", "reward"))
    assert frontier_slope(costs, rewards, D).value == pytest.approx(40.0)
    found = slope(rows, "harm", D)
    assert (found.value, found.lower, found.upper) == (pytest.approx(5.0), pytest.approx(2.0), pytest.approx(8.0))
    assert [one.seed for one in found.telling] == ["0", "1"]
    assert "median of 2 of 3 seeds between 5 and 5, 8 runs" in found.words
    assert "seed 2 tells none: threshold=0.05: the runs' costs go from 0.07 to 0.1" in found.words


def test_seeds_that_differ_give_their_median_and_the_widest_bracket() -> None:
    rows = [*runs(0, (9.0, 4.0, 1.0)), *runs(1, (8.0, 7.0, 2.0), 1.0), *runs(2, (20.0, 5.0, 3.0), -1.0)]
    found = slope(rows, "harm", D)
    assert (found.value, found.lower, found.upper) == (pytest.approx(5.0), pytest.approx(1.0), pytest.approx(20.0))
    assert found.words == "frontier slope at d, median of 3 seeds between 4 and 7, 12 runs"


def test_one_run_of_each_seed_cannot_tell() -> None:
    found = slope([*runs(0, (), costs=(0.02,)), *runs(1, (), costs=(0.08,))], "harm", D)
    assert math.isnan(found.value)
    assert found.reason.startswith("no estimate from 2 seeds (seed 0: 1 finished run; the slope needs two or more")
    assert slope([], "harm", D).reason


def test_the_folder_and_the_page_say_how_many_seeds(tmp_path: Path) -> None:
    rows = [*runs(0, (9.0, 4.0, 1.0)), *runs(1, (8.0, 7.0, 2.0), 1.0), *runs(2, (), costs=(0.02,))]
    write_runs(tmp_path / "runs.csv", rows)
    write_report([tmp_path], tmp_path)
    content = json.loads((tmp_path / "lambda_star.json").read_text(encoding="utf-8"))
    assert content["value"] == pytest.approx(5.5)
    assert content["method"] == "frontier slope at d, median of 2 seeds"
    assert [(one["seed"], one["value"]) for one in content["seeds"]] == [
        ("0", pytest.approx(4.0)), ("1", pytest.approx(7.0)), ("2", None),
    ]  # fmt: skip
    assert content["seeds"][2]["reason"].startswith("1 finished run")
    assert [one["seed"] for one in content["points"]] == ["0"] * 4 + ["1"] * 4
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "median of 2 of 3 seeds between 4 and 7, 8 runs; seed 2 tells none" in page
    assert "between 1 and 9; 2 of 3 seeds" in page, "the card says it, too"


def test_each_seed_has_its_line() -> None:
    found = slope([*runs(0, (9.0, 4.0, 1.0)), *runs(1, (8.0, 7.0, 2.0), 1.0)], "harm", D)
    axes = MatplotlibFigure().add_subplot()
    figures.draw_slope(found, "unsafe", True)(axes, LIGHT)
    assert {"seed 0: slope 4", "seed 1: slope 7"} <= {str(line.get_label()) for line in axes.lines}
