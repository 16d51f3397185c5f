"""The bounds of a certificate, as a reader sees them."""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from csrlhf.evaluation.certificates.page import bound_cards, bounds_section
from csrlhf.report import Figure, Table
from csrlhf.report.figures import LIGHT

BY_MODEL = {
    "quantity": "share of answers that the cost model finds unsafe", "method": "Clopper-Pearson", "decides": True,
    "verdict": "CERTIFIED", "note": None, "events": 3, "count": 1000, "confidence": 0.95, "value": 0.003,
    "lower": 0.001, "upper": 0.008, "threshold": 0.03,
}  # fmt: skip
BESIDE = BY_MODEL | {
    "quantity": "mean cost", "decides": False, "verdict": None, "events": None, "value": 1.25, "lower": -float("inf"),
}  # fmt: skip
CONSTRAINT: dict[str, Any] = {"verdict": "CERTIFIED", "statements": [BY_MODEL, BESIDE]}


def test_a_card_for_what_decides() -> None:
    [card] = bound_cards("harm", CONSTRAINT)
    assert card.label == "harm: share of answers that the cost model finds unsafe"
    assert (card.value, card.tone) == ("0.30 %", "good")
    assert card.note == "at least 0.10 %, at most 0.80 %; threshold 3.00 %"


def test_the_table_holds_everything_and_the_figure_what_decides() -> None:
    table, figure = bounds_section("harm", CONSTRAINT).blocks
    assert isinstance(table, Table)
    assert isinstance(figure, Figure)
    assert [row[2] for row in table.rows] == ["3 of 1,000", "1,000"]
    assert table.rows[1][3:] == ["1.25", "-inf", "0.008", "for comparison"]
    drawing, axes = plt.subplots()
    figure.draw(axes, LIGHT)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["by the cost model"]
    plt.close(drawing)
