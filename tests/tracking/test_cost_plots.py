"""Figures of a cost model: one pair for each split and constraint, with points that fit the reported numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from csrlhf.tracking.cost_plots import CostPlots
from csrlhf.types import LabelledRow

LOGITS = np.array([[-2.0, 4.0], [-1.0, 2.0], [1.0, -2.0], [3.0, -4.0]])
UNSAFE = [(0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]


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
