"""The table shows what was measured and nothing else."""

from __future__ import annotations

import io

from csrlhf.report import print_blocks
from csrlhf.terminal import plain_console
from csrlhf.tracking.tables import score_table

METRICS = {
    "validation/auroc": 0.9,
    "validation/auroc_low": 0.85,
    "validation/auroc_high": 0.95,
    "baseline/validation/auroc": 0.8,
    "test/accuracy": 0.7,
}


def printed(split: str) -> str:
    console = plain_console(width=120, record=True, file=io.StringIO())
    print_blocks([score_table(METRICS, split, ["accuracy", "auroc"])], console)
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


def test_what_is_undefined_is_a_dash() -> None:
    nan = float("nan")
    metrics = {"test/precision": nan, "test/precision_low": nan, "test/precision_high": nan}
    console = plain_console(width=80, file=io.StringIO(), record=True)
    print_blocks([score_table(metrics, "test", ["precision"])], console)
    text = console.export_text()
    assert "nan" not in text
    assert "│ precision │ –     │" in text


def test_the_widest_report_fits_into_80_columns_without_escape_codes() -> None:
    names = ["accuracy", "precision", "recall", "specificity", "auroc", "ece", "brier", "pair_accuracy"]
    keys = [f"{prefix}validation/{name}{suffix}" for prefix in ("", "baseline/") for name in names
            for suffix in ("", "_low", "_high")]  # fmt: skip
    out = io.StringIO()
    table = score_table(dict.fromkeys(keys, 0.1234), "validation", names)
    print_blocks([table], plain_console(width=80, file=out))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("0.123 (0.123 to 0.123)" in line for line in lines) == len(names)  # no cell was cut or folded
    assert "\x1b" not in out.getvalue()
