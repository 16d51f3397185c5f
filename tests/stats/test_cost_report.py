"""The report: intervals hold the value, a baseline stands beside it, constraints and categories have own keys."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.stats.cost_report import cost_report, of_split, split_area
from csrlhf.types import LabelledRow

ROWS = [
    LabelledRow(f"prompt {i}", "bad word" if i % 2 else "good word", (float(i % 2), float(i < 10)), {"category": c})
    for i, c in enumerate(["harmful", "benign"] * 10)
]
PROBABILITY = np.stack([np.linspace(0, 1, 20), np.linspace(1, 0, 20)], axis=1)


def one_constraint() -> list[LabelledRow]:
    return [LabelledRow(row.prompt, row.response, row.unsafe[:1], row.meta) for row in ROWS]


def test_every_number_lies_in_its_interval() -> None:
    report = cost_report(("harm",), PROBABILITY[:, :1], one_constraint(), [])
    for name in ("accuracy", "precision", "recall", "specificity", "auroc", "brier"):
        assert report[f"{name}_low"] <= report[name] <= report[f"{name}_high"]
        assert report[f"{name}_low"] < report[f"{name}_high"]
    assert not [key for key in report if "baseline" in key]


def test_the_baseline_learns_from_the_training_rows() -> None:
    report = cost_report(("harm",), PROBABILITY[:, :1], one_constraint(), one_constraint())
    assert report["baseline/accuracy"] == 1.0
    assert report["accuracy"] < 1.0


def test_categories() -> None:
    rows = one_constraint()
    report = cost_report(("harm",), np.array([[0.9] for _ in rows]), rows, [])
    assert report["harmful/accuracy"] == 0.0  # even rows are safe, all are flagged
    assert report["false_positives/harmful"] == 1.0
    assert report["benign/accuracy"] == 1.0
    assert "false_positives/benign" not in report  # no safe row in it


def test_two_constraints() -> None:
    report = cost_report(("harm", "privacy"), PROBABILITY, ROWS, ROWS)
    assert report["privacy/accuracy"] == 1.0
    assert report["accuracy"] == pytest.approx((report["harm/accuracy"] + 1.0) / 2)
    assert "privacy/baseline/auroc" in report


def test_numbers_of_a_split() -> None:
    report = {"accuracy": 1.0, "baseline/auroc": 0.5, "privacy/baseline/auroc": 0.25}
    assert of_split("test", report) == {
        "test/accuracy": 1.0,
        "baseline/test/auroc": 0.5,
        "baseline/test/privacy/auroc": 0.25,
    }
    assert split_area("test", "harm", ("harm",)) == "test"
    assert split_area("test", "harm", ("harm", "privacy")) == "test/harm"
