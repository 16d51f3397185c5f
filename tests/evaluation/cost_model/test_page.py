"""The page and the terminal's tables of a cost model's evaluation, and what they must not show."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from csrlhf.evaluation.cost_model.evaluation import evaluate_output, share_of
from csrlhf.evaluation.cost_model.page import cost_page
from csrlhf.evaluation.cost_model.result import CostResult
from csrlhf.evaluation.cost_model.tables import baseline_of, result_tables, share_words, with_interval
from csrlhf.stats.cost_report import cost_report, of_split
from csrlhf.stats.drift import Drift
from csrlhf.terminal import plain_console
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


def test_the_terminal(result: CostResult) -> None:
    console = plain_console(width=120, record=True, file=StringIO())
    console.print(result_tables(result))
    text = console.export_text()
    assert "harm: cost model on test, 40 rows, 20 unsafe" in text
    assert "100.0% of 20" in text
    assert "cost logits of harm" in text
    assert text.count("No threshold can be certified") == 2
    harm, privacy = result.evaluations
    assert with_interval(result, harm, "recall").startswith("0.950 (")
    assert with_interval(result, privacy, "recall") == "–"
    assert baseline_of(result, harm, "accuracy")
    assert share_words(share_of(0, 0)) == "–"
    assert share_words(share_of(3, 4)) == "3 of 4 (75.0%, 19.4 to 99.4)"


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
