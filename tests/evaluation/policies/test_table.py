"""The closing table: rows, missing values, the verdict's words, 80 columns."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from csrlhf.evaluation.policies.table import ConstraintVerdict, policy_table, print_table

VERDICT = ConstraintVerdict("harm", 0.012, 0.021, 0.05, 0.95, 660)


def text(*arguments) -> str:
    console = Console(file=StringIO(), width=80, no_color=True)
    console.print(policy_table(*arguments))
    return console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above


def row(table: str, words: str) -> str:
    return next(line for line in table.splitlines() if words in line)


def test_rates_are_percentages_and_means_are_numbers() -> None:
    table = text({"SFT": {"unsafe_rate": 0.25, "reward": 1.5}, "x": {"unsafe_rate": 0.0, "reward": -0.25}}, [])
    assert "25.0%" in row(table, "unsafe by the cost model")
    assert "0.0%" in row(table, "unsafe by the cost model")
    assert "1.500" in row(table, "mean reward")
    assert "-0.250" in row(table, "mean reward")


def test_rows_that_nobody_has_are_left_out_and_one_that_some_have_is_marked() -> None:
    table = text({"SFT": {"reward": 1.0}, "x": {"kl": 0.5}}, [])
    assert "false refusal" not in table
    assert "-" in row(table, "mean reward")
    assert "0.500" in row(table, "KL to the SFT policy")


@pytest.mark.parametrize(("upper", "feasible"), [(0.049, True), (0.05, True), (0.051, False)])
def test_the_upper_bound_decides(upper: float, feasible: bool) -> None:
    verdict = ConstraintVerdict("harm", 0.01, upper, 0.05, 0.95, 10)
    assert verdict.feasible is feasible
    assert verdict.line().startswith("FEASIBLE: " if feasible else "INFEASIBLE: ")


def test_the_line_says_what_was_measured() -> None:
    expected = "FEASIBLE: harm 0.012 on 660 prompts, 95% upper bound 0.021 <= threshold 0.05"
    assert VERDICT.line() == expected
    assert expected in " ".join(text({"x": {"reward": 1.0}}, [VERDICT]).split())


def test_fits_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    keys = ("oracle/unsafe_harmful_held_out", "oracle/helped_keyword_alike", "kl")
    print_table({"SFT": dict.fromkeys(keys, 1.0), "rectified": dict.fromkeys(keys, 1.0)}, [VERDICT])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("unsafe on harmful prompts, held-out framings" in line for line in lines)


def test_a_name_that_is_too_long_is_folded_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "lagrangian-with-a-rather-long-name-0123456789"
    print_table({"SFT": {"kl": 1.0}, name: {"kl": 1.0}}, [VERDICT])
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out
    header = "".join(line.split("┃")[-2].strip() for line in lines if line.startswith("┃"))
    assert header == name


def test_zero_has_no_sign_and_what_is_undefined_is_a_dash() -> None:
    table = text({"SFT": {"kl": -1e-7, "oracle/over_refusal": float("nan")}}, [])
    assert "0.000" in row(table, "KL to the SFT policy")
    assert "-0.000" not in table
    assert row(table, "false refusal").split("│")[2].strip() == "-"


@pytest.mark.parametrize(("oracle", "warned"), [(0.91, True), (0.012, False)])
def test_a_cost_model_that_misjudges_the_policy_is_named(oracle: float, warned: bool) -> None:
    table = text({"SFT": {"unsafe_rate": 0.5}, "x": {"unsafe_rate": 0.008, "oracle/unsafe": oracle}}, [VERDICT])
    assert ("it finds 0.8% of the responses unsafe, the oracle" in " ".join(table.split())) is warned
