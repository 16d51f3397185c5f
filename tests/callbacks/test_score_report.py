"""The table shows what was measured and nothing else."""

from __future__ import annotations

import io

from rich.console import Console

from csrlhf.callbacks.score_report import score_table

METRICS = {
    "validation/auroc": 0.9,
    "validation/auroc_low": 0.85,
    "validation/auroc_high": 0.95,
    "baseline/validation/auroc": 0.8,
    "test/accuracy": 0.7,
}


def printed(split: str) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(score_table(METRICS, split, ["accuracy", "auroc"]))
    return console.export_text()


def test_value_interval_and_baseline() -> None:
    text = printed("validation")
    assert "0.900 (0.850 to 0.950)" in text
    assert "0.800" in text
    assert "accuracy" not in text


def test_no_column_for_a_baseline_that_is_not_there() -> None:
    text = printed("test")
    assert "0.700" in text
    assert "bag of words" not in text
