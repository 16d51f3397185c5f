"""Curves of a stage, and of a cost model one pair of figures for each split and constraint, with points that fit."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch

from csrlhf.tracking.plots import CostPlots, Panel, draw, draw_panel, series
from csrlhf.types import LabelledRow

ROWS = [
    {"step": 0.0, "constraint/harm/cost": 0.4, "constraint/harm/threshold": 0.05, "train/reward": 1.0},
    {"step": 1.0, "constraint/harm/cost": 0.2, "constraint/harm/threshold": 0.05, "train/reward": 2.0},
    {"step": 1.0, "validation/reward": 3.0},
]

LOGITS = np.array([[-2.0, 4.0], [-1.0, 2.0], [1.0, -2.0], [3.0, -4.0]])
UNSAFE = [(0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]


def test_series_are_found_by_pattern_and_skip_missing_rows() -> None:
    assert series(ROWS, "constraint/*/cost") == {"constraint/harm/cost": ([0.0, 1.0], [0.4, 0.2])}
    assert series(ROWS, "validation/reward") == {"validation/reward": ([1.0], [3.0])}
    assert series(ROWS, "policy/kl") == {}


def test_only_panels_with_data_are_drawn(tmp_path: Path) -> None:
    panels = [Panel("Cost so far", ["constraint/*/cost"]), Panel("KL", ["policy/kl"])]
    written = draw(ROWS, panels, tmp_path)
    assert [path.name for path in written] == ["curves.png", "cost_so_far.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert draw(ROWS, panels[1:], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_the_threshold_is_a_labelled_line() -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    draw_panel(axis, Panel("Cost", ["constraint/*/cost"], line="constraint/*/threshold"), ROWS)
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["constraint/harm/cost", "constraint/harm/threshold"]
    assert axis.lines[1].get_ydata()[0] == pytest.approx(0.05)
    plt.close(figure)


def module(constraints: tuple[str, ...]) -> SimpleNamespace:
    rows = [LabelledRow("p", "r", labels[: len(constraints)]) for labels in UNSAFE]
    source = SimpleNamespace(constraints=constraints, labelled=lambda split: rows)
    model = SimpleNamespace(temperature_K=torch.tensor([2.0, 1.0])[: len(constraints)])
    return SimpleNamespace(source=source, model=model, logits={"validation": LOGITS, "test": LOGITS})


def trainer(fn: str, is_global_zero: bool = True) -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(fn=fn), is_global_zero=is_global_zero)


def points(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_each_split_has_its_two_figures_and_their_points(tmp_path: Path) -> None:
    plots = CostPlots(str(tmp_path / "plots"))
    plots.on_validation_end(trainer("validate"), module(("harm",)))  # type: ignore[arg-type]  # the parts it reads
    plots.on_test_end(trainer("test"), module(("harm",)))  # type: ignore[arg-type]  # the parts it reads
    names = {f"{kind}_{split}.{end}" for kind in ("reliability", "threshold") for split in ("validation", "test")
             for end in ("png", "csv")}  # fmt: skip
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    assert all((tmp_path / "plots" / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))


def test_the_threshold_is_on_calibrated_logits_and_the_bins_are_of_both(tmp_path: Path) -> None:
    CostPlots(str(tmp_path)).on_test_end(trainer("test"), module(("harm",)))  # type: ignore[arg-type]  # the parts it reads
    curve = {row["tau"]: row for row in points(tmp_path / "threshold_test.csv")}
    assert set(curve) == {-2.0, -1.0, -0.5, 0.0, 0.5, 1.5}  # half of the logits, 0, and one below all
    assert curve[0.0] == {"tau": 0.0, "recall": pytest.approx(2 / 3), "false_positive_rate": 0.0, "precision": 1.0}
    bins = points(tmp_path / "reliability_test.csv")
    for temperature in (1.0, 2.0):
        found = [row["probability"] for row in bins if row["temperature"] == temperature]
        assert found == pytest.approx(1 / (1 + np.exp(-LOGITS[:, 0] / temperature)))


def test_several_constraints_have_a_figure_each(tmp_path: Path) -> None:
    CostPlots(str(tmp_path)).on_test_end(trainer("test"), module(("harm", "privacy")))  # type: ignore[arg-type]  # the parts it reads
    assert (tmp_path / "reliability_test_harm.png").exists()
    privacy = points(tmp_path / "threshold_test_privacy.csv")
    assert {row["tau"]: row["recall"] for row in privacy}[2.0] == 1.0  # its own labels and temperature 1
    assert {row["temperature"] for row in points(tmp_path / "reliability_test_privacy.csv")} == {1.0}


@pytest.mark.parametrize(("fn", "is_global_zero"), [("fit", True), ("validate", False)])
def test_nothing_is_drawn_while_training_or_on_other_ranks(tmp_path: Path, fn: str, is_global_zero: bool) -> None:
    CostPlots(str(tmp_path / "plots")).on_validation_end(trainer(fn, is_global_zero), module(("harm",)))  # type: ignore[arg-type]  # the parts it reads
    assert not (tmp_path / "plots").exists()
