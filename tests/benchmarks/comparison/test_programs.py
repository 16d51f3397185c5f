"""The two programs from their options to their tables, with stages that train nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import losses, penalties
from benchmarks.comparison import program
from benchmarks.comparison.lambda_star import stored
from benchmarks.comparison.settings import SCREEN
from csrlhf.errors import UserError
from csrlhf.sweeping.pool import alone


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch, stages: Any) -> list[str]:
    """No training, and the names of the figures in place of figures: drawing takes most of a call's time."""
    names: list[str] = []
    monkeypatch.setattr(program, "run_job", stages)
    for function in ("draw_outcomes", "draw_costs"):
        monkeypatch.setattr(program, function, lambda runs, path: names.append(path.name))
    return names


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_screen_estimates_lambda_and_runs_everything_once(tmp_path: Path, stages: Any, drawn: list[str]) -> None:
    words = ["--screen", "--out", str(tmp_path), "--workers", "2"]
    assert not penalties.main(words).pool.failed
    star = stored(tmp_path)
    assert star is not None
    assert star.value == 2.0  # the dual's figure; a gate open in a quarter of the time at λ = 8 says the same
    assert stages.calls.count("seed 0 sft") == stages.calls.count("seed 1 semantic-cost") == 1
    assert f"penalty.multiplier={10 * star.value:g}" in stages.words["seed 0 plain-x10 ppo"]
    found = rows(tmp_path)
    assert {(row["setting"], row["seed"]) for row in found} == {(n, s) for n in (*SCREEN, "probe") for s in "01"}
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("λ* = 2 (mean of the duals' late multiplier)")
    assert drawn == ["outcomes.png", "costs.png"]
    count = len(stages.calls)
    penalties.main(words)
    assert len(stages.calls) == count


def test_finalists_follow_the_screen_and_stay_the_same(
    tmp_path: Path, stages: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    penalties.main(["--out", str(tmp_path), "--seeds", "0", "1"])
    chosen = json.loads((tmp_path / "finalists.json").read_text())
    assert len(chosen) == 5
    stages.calls.clear()
    penalties.main(["--finalists", "--out", str(tmp_path)])
    assert f"finalists: {', '.join(chosen)}" in capsys.readouterr().out
    assert {title.split()[2] for title in stages.calls if title.endswith(" ppo")} == set(chosen)
    assert {title.split()[1] for title in stages.calls} == {"2", "3", "4"}
    assert len([row for row in rows(tmp_path) if row["setting"] == chosen[0]]) == 5


def test_a_table_of_what_is_there_runs_nothing(tmp_path: Path, stages: Any) -> None:
    penalties.main(["--settings", "none", "pid", "--out", str(tmp_path), "--seeds", "3"])
    assert stored(tmp_path) is None  # nothing asked for needs it
    count = len(stages.calls)
    (tmp_path / "table.md").unlink()
    penalties.main(["--table", "--out", str(tmp_path)])
    assert len(stages.calls) == count
    assert [row["setting"] for row in rows(tmp_path)] == ["none", "pid"]
    assert (tmp_path / "table.md").is_file()
    with pytest.raises(UserError, match="no run is finished"):
        penalties.main(["--table", "--out", str(tmp_path / "elsewhere")])


def test_one_broken_setting_leaves_the_others(tmp_path: Path, stages: Any) -> None:
    stages.broken = {"seed 0 pid ppo"}
    made = penalties.main(["--settings", "none", "pid", "--out", str(tmp_path), "--seeds", "0"])
    assert [job.title for job in made.pool.failed] == ["seed 0 pid ppo"]
    assert [row["setting"] for row in rows(tmp_path)] == ["none"]


def test_a_seed_without_its_models_runs_nothing(tmp_path: Path, stages: Any) -> None:
    stages.broken = {"seed 0 reward"}
    made = penalties.main(["--settings", "none", "--out", str(tmp_path), "--seeds", "0", "1"])
    assert [job.title for job in made.pool.failed] == ["seed 0 reward"]
    assert [(row["setting"], row["seed"]) for row in rows(tmp_path)] == [("none", "1")]
    assert "seed 0 none ppo" not in stages.calls


def test_lambda_can_be_given_once(tmp_path: Path, stages: Any) -> None:
    words = ["--settings", "linear-x2", "--seeds", "0", "--out", str(tmp_path), "--lambda-star"]
    penalties.main([*words, "1.5"])
    assert "penalty.multiplier=3" in stages.words["seed 0 linear-x2 ppo"]
    assert "seed 0 probe ppo" not in stages.calls
    with pytest.raises(UserError, match=r"--lambda-star 4.0: .* multiples of 1.5"):
        penalties.main([*words, "4"])
    with pytest.raises(UserError, match="positive"):
        penalties.main([*words, "0"])


def test_runs_with_other_overrides_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--settings", "none", "--out", str(tmp_path), "--seeds", "1"]
    penalties.main([*words, "--overrides", "ppo.iterations=10"])
    with pytest.raises(UserError, match="no run is finished"):
        penalties.main([*words, "--table"])
    assert "other overrides or another version: none seed 1" in capsys.readouterr().out


def test_smoke_keeps_to_itself(tmp_path: Path, stages: Any) -> None:
    penalties.main(["--smoke", "--settings", "none", "--out", str(tmp_path)])
    assert len(rows(tmp_path / "smoke")) == 1
    assert all("experiment=smoke" in words for words in stages.words.values())


def test_two_calls_in_one_folder_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UserError, match="another call is working here"):
        penalties.main(["--settings", "none", "--out", str(tmp_path)])


def test_losses_share_the_models_of_the_penalties(tmp_path: Path, stages: Any) -> None:
    base, out = tmp_path / "penalties", tmp_path / "losses"
    penalties.main(["--settings", "none", "--out", str(base), "--seeds", "0"])
    stages.calls.clear()
    losses.main(["--out", str(out), "--base", str(base), "--seeds", "0"])
    assert "seed 0 pairwise-cost" in stages.calls
    assert not {"seed 0 sft", "seed 0 reward", "seed 0 semantic-cost"} & set(stages.calls)
    text = (out / "table.md").read_text()
    assert "| pairwise | 1 | 90.0 |" in text  # the table of cost models
    assert text.count("| pairwise-lagrangian |") == 3
    with pytest.raises(UserError, match=r"--base .*seed 0 sft was made with other overrides"):
        losses.main(["--out", str(out), "--base", str(base), "--seeds", "0", "--overrides", "ppo.iterations=10"])


def test_workers_are_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--workers 0"):
        penalties.main(["--table", "--workers", "0", "--out", str(tmp_path)])
