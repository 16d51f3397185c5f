"""The evaluation of a cost model on the terminal: measures, slices, threshold, drift."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from csrlhf.evaluation.cost_model.result import CostResult
from csrlhf.metrics.cost_evaluation import CostEvaluation
from csrlhf.metrics.cost_slices import Share, Slice
from csrlhf.metrics.drift import Drift
from csrlhf.metrics.drift_report import words
from csrlhf.terminal import plain_console

MEASURES = ("accuracy", "precision", "recall", "specificity", "auroc", "ece", "brier")
"""Those of ``cost_report``, in the order they are shown."""


def print_result(result: CostResult) -> None:
    """Print to the terminal (plain where there is none, or with NO_COLOR)."""
    plain_console(soft_wrap=False).print(result_tables(result))


def result_tables(result: CostResult) -> Group:
    """All tables below each other, constraint by constraint."""
    parts: list[RenderableType] = []
    for one in result.evaluations:
        title = (
            f"{one.name}: cost model on {result.split}, {len(result.rows):,} rows, {int(one.unsafe_N.sum()):,} unsafe"
        )
        parts += [_measures(result, one, title), _confusion(result, one), _slices(one)]
        parts += [Text(line, style="bold") for line in one.choice.sentences()]
    if result.drift:
        parts.append(_drift(result))
    return Group(*parts)


def with_interval(result: CostResult, one: CostEvaluation, key: str) -> str:
    """``0.843 (0.781 to 0.902)``; a dash where it is not defined."""
    value, low, high = (result.number(one, f"{key}{end}") for end in ("", "_low", "_high"))
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if math.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def baseline_of(result: CostResult, one: CostEvaluation, key: str) -> str:
    """The same of the bag-of-words baseline; empty where there is none."""
    area = f"{one.name}/" if len(result.evaluations) > 1 else ""
    value = result.numbers.get(f"baseline/{result.split}/{area}{key}")
    return "" if value is None else "–" if math.isnan(value) else f"{value:.3f}"


def calibration_rows(one: CostEvaluation) -> list[tuple[str, float, float]]:
    """Which probabilities, their temperature, their calibration error."""
    errors = one.calibration
    return [
        ("the head's own", 1.0, errors["ece_uncalibrated"]),
        ("stored temperature (in use)", errors["temperature"], errors["ece_calibrated"]),
        ("refitted, judged on other prompts", errors["temperature_refitted"], errors["ece_refitted"]),
    ]


def share_words(share: Share, interval: bool = True) -> str:
    """``3 of 4 (75.0%, 19.4 to 99.4)``, or ``75.0% of 4``; a dash where there is nothing to count."""
    if not share.count:
        return "–"
    if not interval:
        return f"{share.value:.1%} of {share.count}"
    return f"{share.hits} of {share.count} ({share.value:.1%}, {100 * share.low:.1f} to {100 * share.high:.1f})"


def slice_cells(part: Slice, intervals: bool = True) -> list[str]:
    """Name, count and shares of a slice, with their intervals or short."""
    area = "–" if math.isnan(part.auroc) else f"{part.auroc:.3f}"
    parts = (part.correct, part.recall, part.false_alarms)
    shares = [
        share_words(one) if intervals else f"{one.value:.1%} of {one.count}" if one.count else "–" for one in parts
    ]
    return [part.name, f"{part.count:,}", *shares, area]


def slice_row(part: Slice) -> list[str]:
    """A slice on the page: share that is right and counts of flagged answers, with their intervals in percent."""
    area = "–" if math.isnan(part.auroc) else f"{part.auroc:.3f}"
    right, *flagged = part.correct, part.recall, part.false_alarms
    cells = [f"{right.value:.1%} ({_ends(right)})" if right.count else "–"]
    cells += [f"{one.hits:,} of {one.count:,} ({_ends(one)})" if one.count else "–" for one in flagged]
    return [part.name, f"{part.count:,}", *cells, area]


def _ends(share: Share) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f}"


def drift_cells(drift: Drift) -> list[str]:
    """What was compared, distance, limit, chance, verdict."""
    chance = "–" if drift.p_value is None else f"{drift.p_value:.3f}"
    return [
        words(drift),
        drift.method,
        f"{drift.value:.3f}",
        f"{drift.limit:.3f}",
        chance,
        "yes" if drift.drifted else "no",
    ]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _measures(result: CostResult, one: CostEvaluation, title: str) -> Table:
    has_baseline = any(baseline_of(result, one, key) for key in MEASURES)
    table = _table(title, ["measure", "model (95 %)", *(["bag of words"] if has_baseline else [])])
    for key in MEASURES:
        table.add_row(key, with_interval(result, one, key), *([baseline_of(result, one, key)] if has_baseline else []))
    table.add_section()
    for name, temperature, error in calibration_rows(one):
        known = "–" if math.isnan(error) else f"{error:.3f} at T = {temperature:.2f}"
        table.add_row(f"ece, {name}", known, *([""] if has_baseline else []))
    return table


def _confusion(result: CostResult, one: CostEvaluation) -> Table:
    table = _table("decisions at cost 0", ["", "flagged", "not flagged"])
    for name, keys in {
        "unsafe": ("true_positives", "false_negatives"),
        "safe": ("false_positives", "true_negatives"),
    }.items():
        table.add_row(name, *(f"{result.number(one, key):.0f}" for key in keys))
    return table


def _slices(one: CostEvaluation) -> Table:
    table = _table("slices", ["rows", "count", "right", "unsafe flagged", "safe flagged", "auroc"])
    for parts in (one.categories, one.lengths):
        for part in parts:
            table.add_row(*slice_cells(part, intervals=False))
        table.add_section()
    return table


def _drift(result: CostResult) -> Table:
    table = _table(
        "drift from what the cost model was made on", ["dialogues", "of", "by", "distance", "limit", "p", "drift"]
    )
    for name, drifts in result.drift.items():
        for drift in drifts:
            style = "bold yellow" if drift.drifted else None
            table.add_row(name, *drift_cells(drift), style=style)
    return table
