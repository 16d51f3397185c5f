"""The bounds of a certificate as cards, a table and a figure, constraint by constraint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csrlhf.evaluation.certificates.words import percent
from csrlhf.report import Block, Card, Figure, Section, Table

TONES = {"CERTIFIED": "good", "VIOLATED": "bad", "INCONCLUSIVE": "warn"}


def bound_cards(name: str, constraint: Mapping[str, Any]) -> list[Card]:
    """What decides on a constraint, at a glance: a card for each statement that does."""
    cards = []
    for record in constraint["statements"]:
        if record["decides"]:
            low, high, limit = (_show(record, key) for key in ("lower", "upper", "threshold"))
            note = f"at least {low}, at most {high}; threshold {limit}"
            label = f"{name}: {record['quantity']}"
            cards.append(Card(label, _show(record, "value"), note, TONES[record["verdict"]]))  # type: ignore[arg-type]
    return cards


def _show(record: Mapping[str, Any], key: str) -> str:
    value = record[key]
    return percent(value) if "share" in record["quantity"] or "sensitivity" in record["quantity"] else f"{value:.4g}"


def bounds_section(name: str, constraint: Mapping[str, Any]) -> Section:
    """Everything that was counted on a constraint, and the bounds that decide as a figure."""
    columns = ["what", "how", "counted", "estimate", "lower bound", "upper bound", "verdict"]
    rows = []
    for record in constraint["statements"]:
        hits = "" if record["events"] is None else f"{record['events']:,} of "
        bounds = [_show(record, key) for key in ("value", "lower", "upper")]
        part = record["verdict"] or (record["note"] or "for comparison")
        rows.append([record["quantity"], record["method"], f"{hits}{record['count']:,}", *bounds, part])
    deciding = [record for record in constraint["statements"] if record["decides"]]
    each = percent(deciding[0]["confidence"])
    blocks: list[Block] = [
        Table(
            columns, rows, caption=f"Bounds on {name}; each holds alone with {each} confidence.", name=f"bounds_{name}"
        ),
        Figure(
            f"bounds_{name}", lambda axes, palette: _draw(axes, palette, deciding), f"Bounds on {name}", size=(7, 1.6)
        ),
    ]
    return Section(f"Bounds: {name}", blocks)


def _draw(axes: Any, palette: Any, records: Sequence[Mapping[str, Any]]) -> None:
    """Intervals as bars, the threshold as a line."""
    tones = {"CERTIFIED": palette.good, "VIOLATED": palette.bad, "INCONCLUSIVE": palette.warn}
    for place, record in enumerate(reversed(records)):
        low, high = max(record["lower"], -1e9), min(record["upper"], 1e9)
        axes.plot([low, high], [place, place], color=tones[record["verdict"]], linewidth=6, solid_capstyle="round")
        axes.plot([record["value"]], [place], "o", color=palette.ink)
    axes.axvline(records[0]["threshold"], color=palette.ink, linestyle="--", label="threshold")
    axes.set_yticks(range(len(records)), [_short(record) for record in reversed(records)])
    axes.set_ylim(-0.7, len(records) - 0.3)
    axes.set_xlim(left=min(0.0, *(max(record["lower"], -1e9) for record in records)))
    axes.set_xlabel(f"{records[0]['quantity']}" if len(records) == 1 else "rate of each statement, with its bounds")
    if "share" in records[0]["quantity"]:
        axes.xaxis.set_major_formatter("{x:.1%}")
    axes.legend(loc="best", frameon=False)


def _short(record: Mapping[str, Any]) -> str:
    return "by labels" if "truly" in record["quantity"] else "by the cost model"
