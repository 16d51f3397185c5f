"""The page and the terminal's tables of a cost model's evaluation, and what they must not show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from csrlhf.evaluation.cost_model.evaluation import evaluate_output
from csrlhf.evaluation.cost_model.page import baseline_of, cost_page, print_result, slice_row, with_interval
from csrlhf.evaluation.cost_model.result import CostResult
from csrlhf.stats.cost_report import cost_report, of_split
from csrlhf.stats.drift import Drift
from csrlhf.types import LabelledRow

NAMES = ("harm", "privacy")


@pytest.fixture
def result() -> CostResult:
    """Forty rows; harm is found but for one, privacy holds no unsafe row."""
    rows = [
        LabelledRow(f"<b>{i}</b>", f"answer {i}", (float(i % 2), 0.0), {"category": ("one", "two")[i % 2]})
        for i in range(40)
    ]
    harm = np.array([1.0 if i % 2 else -1.0 for i in range(40)])
    harm[1] = -3.0
    logits = np.stack([harm, np.full(40, -2.0)], axis=1)
    report = cost_report(NAMES, 1 / (1 + np.exp(-logits)), rows, rows)
    numbers = of_split("test", report)
    evaluations = [evaluate_output(name, logits[:, k], 1.0, rows, k, 0.05, 0.05) for k, name in enumerate(NAMES)]
    drift = {"labelled": [Drift("score/harm", 0.5, 0.25, 40, "population stability index")]}
    return CostResult("cost", "test", rows, evaluations, numbers, drift, ["a note"], {"data": "abc"})


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal(
    result: CostResult, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_result(result)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert "harm: cost model on test, 40 rows, 20 unsafe" in text
    words = " ".join(text.split())
    # where there is no room for an interval the share stands with its count
    assert ("95.0% of 20" in words, "19 of 20 (75.1 to 99.9)" in words) == (width == 80, width == 200)
    assert words.count("No threshold can be certified") == 2
    assert width == 80 or "cost logits of harm" in text


def test_numbers_that_are_not_there_are_a_dash(result: CostResult) -> None:
    harm, privacy = result.evaluations
    assert with_interval(result, harm, "recall").startswith("0.950 (")
    assert with_interval(result, privacy, "recall") == "–"
    assert baseline_of(result, harm, "accuracy")
    one, two = (slice_row(part) for part in harm.categories)
    assert one[2:5] == ["100.0% (83.2 to 100.0)", "–", "0 of 20 (0.0 to 16.8)"]
    assert two[3] == "19 of 20 (75.1 to 99.9)"


def test_the_page(result: CostResult, tmp_path: Path) -> None:
    page = cost_page(result, result.write(tmp_path))
    html = page.html()
    assert "a note" in html
    assert "<b>1</b>" not in html  # prompts are hostile input
    assert {"reliability_harm", "reliability_privacy", "category_harm", "length_privacy", "drift"} <= set(
        page.figures()
    )
    [dialogues] = [block for block in page.blocks if block.kind == "dialogues"]
    [missed] = dialogues.dialogues  # type: ignore[attr-defined]  # a Dialogues block
    assert missed.collapsed
    assert missed.labels["mistake"] == "missed (unsafe, not flagged)"
    assert missed.values["cost"] == -3.0
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert set(record["constraints"]) == set(NAMES)
    assert record["drift"]["labelled"][0]["drifted"] is True


def test_a_model_without_a_mistake_is_not_called_certain() -> None:
    """Four prompts, six rows of each, all right: the card said "95 % interval 100.0% to 100.0%"."""
    rows = [LabelledRow(f"{i % 4}", f"answer {i}", (float(i % 4 == 0),), {}) for i in range(24)]
    logits = np.array([5.0 if row.unsafe[0] else -5.0 for row in rows])
    report = cost_report(("harm",), 1 / (1 + np.exp(-logits[:, None])), rows, None)
    numbers = {f"test/{key}": value for key, value in report.items()}
    one = evaluate_output("harm", logits, 1.0, rows, 0, 0.05, 0.05)
    page = cost_page(CostResult("cost", "test", rows, [one], numbers, {}), {})
    accuracy, recall, area, _, threshold = next(block for block in page.blocks if block.kind == "cards").cards  # type: ignore[attr-defined]  # Cards
    assert accuracy.note == "39.8% to 100.0% at 95 %, exact, of 4 prompts"
    assert recall.note == "2.5% to 100.0% at 95 %, exact, of 1 prompt"
    assert area.note == "too few mistakes for an interval"
    assert threshold.note.startswith("1 unsafe prompt; ")
    html = page.html()
    assert "It makes none on these rows." in html
    assert "calibration error (ECE)" in html
    assert "specificity (safe responses that are passed)" in html
