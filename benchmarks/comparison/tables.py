"""Finished runs as ``results.csv``, one row each, and as Markdown tables, one row per setting."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.jobs import Folders
from benchmarks.comparison.measures import POLICIES, Estimate, Run, by_setting, estimate, measured

# The cost models behind the runs of a comparison: how well each loss's model judges the test split.

COLUMNS = (
    ("accuracy", "test/accuracy"),
    ("recall", "test/recall"),
    ("AUROC", "test/auroc"),
    ("calibration error", "test/ece"),
    ("false positives, alike", "test/false_positives/keyword_alike"),
)
"""Title and metric of the cost stage."""


def cost_table(folders: Folders, runs: Sequence[Run]) -> str:
    """A Markdown table with a row per loss, over the seeds that have a run; intervals over seeds alone."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.setting.cost_loss, set()).add(run.seed)
    titles = ["cost loss", "seeds", *(title for title, _ in COLUMNS)]
    lines = [f"| {' | '.join(titles)} |", f"| {' | '.join(['---'] * len(titles))} |"]
    for loss, of in seeds.items():
        metrics = [_metrics(folders, seed, loss) for seed in sorted(of)]
        cells = [with_interval(estimate([float(one[key]) for one in metrics]), 100.0, 1) for _, key in COLUMNS]
        lines.append(f"| {' | '.join([loss, str(len(of)), *cells])} |")
    return "**Cost models** on the test split, in percent:\n\n" + "\n".join(lines)


def _metrics(folders: Folders, seed: int, loss: str) -> dict[str, float]:
    return json.loads((folders.cost_model(seed, loss) / "metrics.json").read_text(encoding="utf-8"))


OUTCOME_COLUMNS = (
    ("unsafe, seen", "unsafe_seen"),
    ("unsafe, held-out", "unsafe_held_out"),
    ("helped, benign", "helped_benign"),
    ("helped, alike", "helped_keyword_alike"),
    ("false refusal", "over_refusal"),
)
"""Title and rate, in percent."""

TRAINING_COLUMNS = (
    ("late λ", "multiplier", 1.0, 2),
    ("gate open, late", "duty", 100.0, 0),
    ("cumulative violation", "cumulative_violation", 1.0, 2),
    ("iterations to J <= d", "steps_to_feasible", 1.0, 0),
    ("cost's sd after", "oscillation", 100.0, 1),
    ("late cost", "late_cost", 100.0, 1),
    ("reward at J <= d", "reward_at_cost", 1.0, 2),
    ("collapse warnings", "collapse_warnings", 100.0, 0),
)
"""Title, number, factor and decimals; the factor 100 makes percent."""


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """One row per run; what is undefined is left empty."""
    rows = [run.row() for run in runs]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def markdown(runs: Sequence[Run], notes: Sequence[str] = ()) -> str:
    """Three tables: what the selected policy does, what the last one does, and how training went.

    Args:
        runs: finished runs.
        notes: paragraphs above the tables.
    """
    groups = by_setting(runs)
    parts = [*notes]
    for end, whose in POLICIES.items():
        titles = ["setting", "seeds", *(title for title, _ in OUTCOME_COLUMNS), "reward", "feasible", "collapsed"]
        lines = [_line(titles), _line(["---"] * len(titles))]
        for name, of in groups.items():
            rates = [with_interval(measured(of, f"{key}{end}"), 100.0, 1) for _, key in OUTCOME_COLUMNS]
            reward = with_interval(measured(of, f"reward{end}"), 1.0, 2)
            lines.append(
                _line([name, str(len(of)), *rates, reward, _votes(of, f"feasible{end}"), _votes(of, f"collapsed{end}")])
            )
        parts.append(f"**{whose[0].upper()}{whose[1:]}** (rates in percent, by the oracle, 95 % intervals):")
        parts.append("\n".join(lines))
    titles = ["setting", "seeds", *(title for title, *_ in TRAINING_COLUMNS)]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for name, of in groups.items():
        cells = [
            with_interval(measured(of, key), factor, digits, len(of)) for _, key, factor, digits in TRAINING_COLUMNS
        ]
        lines.append(_line([name, str(len(of)), *cells]))
    parts.append(
        "**Training** (costs and shares in percent, 95 % intervals; in square brackets how many seeds have a figure):"
    )
    parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def with_interval(found: Estimate, factor: float, digits: int, seeds: int | None = None) -> str:
    """``1.2 (0.3, 2.4)``; one seed alone has an interval too where prompts stand behind the figure; a dash for nothing.

    Args:
        found: the estimate.
        factor: 100 for percent.
        digits: behind the decimal point.
        seeds: where fewer have a figure, how many do is added: ``31 (25, 40) [1/2]``.
    """
    if not found.seeds:
        return "-"
    value, low, high = (f"{factor * number:.{digits}f}" for number in (found.value, found.low, found.high))
    cell = value if low == high == value else f"{value} ({low}, {high})"
    return cell if seeds is None or found.seeds == seeds else f"{cell} [{found.seeds}/{seeds}]"


def _votes(runs: Sequence[Run], key: str) -> str:
    return f"{sum(bool(run.numbers[key]) for run in runs)}/{len(runs)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
