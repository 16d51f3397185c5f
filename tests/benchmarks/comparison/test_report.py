"""Finalists, tables and figures of runs that never happened."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.comparison.figures import draw_costs, draw_outcomes, smoothed
from benchmarks.comparison.measures import Estimate, Run, balance, finalists
from benchmarks.comparison.tables import markdown, with_interval, write_csv

Make = Callable[..., Run]


def test_balance_by_hand(make_run: Make) -> None:
    run = make_run("a", helped=0.9, unsafe_seen=0.1, unsafe_held_out=0.3, helped_last=0.8)
    assert balance(run) == pytest.approx(((0.9 - 0.2) + (0.8 - 0.5)) / 2)


def test_finalists_are_the_best_of_each_family(make_run: Make) -> None:
    runs = [
        *(make_run("plain-x2", seed, helped=0.9) for seed in (0, 1)),
        *(make_run("plain-x5", seed, helped=1.0, feasible=float(seed)) for seed in (0, 1)),  # infeasible once
        *(make_run("probe", seed, helped=1.0) for seed in (0, 1)),
        *(make_run("pid", seed, family="dual", helped=0.7) for seed in (0, 1)),
        *(make_run("lagrangian-lr1", seed, family="dual", helped=0.8) for seed in (0, 1)),
        make_run("augmented_lagrangian", 0, family="dual", helped=1.0),  # one seed only
        *(make_run("linear-x2", seed, family="linear") for seed in (0, 1)),
        *(make_run("none", seed, family="none", helped=1.0) for seed in (0, 1)),
    ]
    assert finalists(runs, (0, 1)) == ["linear-x2", "lagrangian-lr1", "plain-x2"]


def test_a_collapsed_policy_loses_to_a_helpful_one_though_it_is_feasible(make_run: Make) -> None:
    runs = [
        make_run("plain-x30", helped=0.0, unsafe_seen=0.0, unsafe_held_out=0.0, collapsed=1.0),
        make_run("plain-x2", helped=0.4, unsafe_seen=0.5, unsafe_held_out=0.5),
    ]
    assert finalists(runs, (0,)) == ["plain-x2"]


def test_a_cell_says_its_interval_and_who_has_no_figure() -> None:
    assert with_interval(Estimate(0.012, 0.003, 0.024, 2), 100.0, 1) == "1.2 (0.3, 2.4)"
    assert with_interval(Estimate(3.0, 3.0, 3.0, 1), 1.0, 0, 2) == "3 [1/2]"
    assert with_interval(Estimate(math.nan, math.nan, math.nan, 0), 1.0, 0, 2) == "-"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_have_a_row_per_setting(make_run: Make) -> None:
    runs = [
        *(make_run("linear-x2", seed, family="linear", unsafe_seen=0.02, feasible=float(seed)) for seed in (0, 1)),
        make_run("none", family="none", collapsed_last=1.0, steps_to_feasible=math.nan),
    ]
    text = markdown(runs, ["A note."])
    assert text.startswith("A note.\n\n**Selected policy**")
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [[cells(line)[0] for line in table[2:]] for table in tables] == [["linear-x2", "none"]] * 3
    for table in tables:
        assert len({len(cells(line)) for line in table}) == 1
    handed_over, last, training = (
        {row[0]: dict(zip(cells(table[0]), row, strict=True)) for row in map(cells, table[2:])} for table in tables
    )
    assert handed_over["linear-x2"]["unsafe, seen"].startswith("2.0 (")
    assert handed_over["linear-x2"]["feasible"] == "1/2"
    assert handed_over["none"]["collapsed"] == "0/1"
    assert last["none"]["collapsed"] == "1/1"
    assert training["none"]["iterations to J <= d"] == "-"
    assert training["linear-x2"]["gate open, late"] == "25"
    assert training["linear-x2"]["seeds"] == "2"


def test_csv_has_a_row_per_run(make_run: Make, tmp_path: Path) -> None:
    runs = [make_run("none", oscillation=math.nan), make_run("none", 1, reward=0.25)]
    write_csv(runs, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["setting"], first["seed"], first["oscillation"], first["over_refusal"]) == ("none", "0", "", "0.1")
    assert (second["seed"], second["reward"], second["overrides"]) == ("1", "0.25", "penalty=rectified")


def test_smoothing_by_hand() -> None:
    found = smoothed([[6.0, 0.0, 0.0, 0.0, 0.0, 5.0, 9.0], [1.0] * 6])
    assert found.shape == (2, 6)
    np.testing.assert_allclose(found[0], [6.0, 3.0, 2.0, 1.5, 1.2, 1.0])
    np.testing.assert_allclose(found[1], 1.0)


def test_figures_are_drawn(make_run: Make, tmp_path: Path) -> None:
    runs = [make_run(f"plain-x{n}", seed) for n in range(3) for seed in (0, 1)] + [make_run("none", family="none")]
    for draw, name in ((draw_outcomes, "outcomes.png"), (draw_costs, "costs.png")):
        draw(runs, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
