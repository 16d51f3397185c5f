"""The comparison of cost losses as a table of 80 columns and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks.cost_models.comparison import REFERENCE, Measured
from csrlhf.terminal import plain_console

OVERALL = {
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "ece": "calibration error",
    "recall": "unsafe flagged",
    "safe_flagged": "safe flagged",
    "alike_flagged": "safe, alike, flagged",
}
"""Measure and its words; ``safe flagged`` is the share of labelled-safe answers with a cost above 0."""

BASELINES = {"bag_of_words": "words", "refusal_regex": "regex"}
COLORS = {"semantic": "#0b6e99", "pairwise": "#d1495b", "bag_of_words": "#8a8a8a", "refusal_regex": "#c98a1b"}
CLAIM = {"semantic": 0.98, "pairwise": 0.70}
"""The accuracies that the paper gives for the two losses."""


def print_tables(measured: Measured, arms: Sequence[str], counts: Mapping[str, int], title: str) -> None:
    """A table for each pairwise arm against the semantic one, 80 columns wide.

    Args:
        measured: the numbers.
        arms: the semantic arm and those to compare with it.
        counts: rows of each slice.
        title: what was compared, over the tables.
    """
    console = plain_console(width=80)
    console.print(title)
    for arm in [arm for arm in arms if arm != REFERENCE] or [REFERENCE]:
        console.print(arm_table(measured, arm, counts))


def arm_table(measured: Measured, arm: str, counts: Mapping[str, int]) -> Table:
    """One arm beside the semantic one and the baselines, in percent."""
    short = {"pairwise_labelled": "labelled", "pairwise_compared": "compared"}.get(arm, arm)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("percent", no_wrap=True)
    for column in (REFERENCE, short, "difference (95 %)", *BASELINES.values()):
        table.add_column(column, justify="right", no_wrap=True)
    for key, words in rows(counts):
        difference = f"{arm} - {REFERENCE}/{key}"
        cells = [percent(measured.values.get(f"{name}/{key}")) for name in (REFERENCE, arm)]
        low, high = measured.intervals.get(difference, (math.nan, math.nan))
        span = (
            "-" if math.isnan(low) else f"{measured.values[difference]:+.1%} ({low:+.1%} {high:+.1%})".replace("%", "")
        )
        table.add_row(words, *cells, span, *(percent(measured.values.get(f"{name}/{key}")) for name in BASELINES))
        if key == list(OVERALL)[-1]:
            table.add_section()
    return table


def rows(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Measure and words of every row: the overall measures, then accuracy by slice."""
    return [*OVERALL.items(), *((f"accuracy/{name}", f"{name} ({count})") for name, count in counts.items())]


def percent(value: float | None) -> str:
    """One decimal; a dash where there is nothing."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def draw(measured: Measured, counts: Mapping[str, int], title: str, path: Path) -> None:
    """Two panels: the measures of all methods with their intervals beside the paper's claim, and the differences."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = rows(counts)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 0.42 * len(lines) + 1.9), sharey=True, gridspec_kw={"width_ratios": [1.6, 1]}
    )
    for name, accuracy in CLAIM.items():
        left.plot([accuracy] * 2, [-0.4, 0.4], color=COLORS[name], linewidth=2.2, linestyle=":")
        left.annotate(
            f"paper {accuracy:.0%}", (accuracy, -0.45), color=COLORS[name], fontsize=8, ha="center", va="bottom"
        )
    for order, (name, color) in enumerate(COLORS.items()):
        points = [
            (measured.values[f"{name}/{key}"], *measured.intervals[f"{name}/{key}"], line + 0.17 * (order - 1.5))
            for line, (key, _) in enumerate(lines)
            if not math.isnan(measured.values.get(f"{name}/{key}", math.nan))
        ]
        for value, low, high, height in points:
            left.plot([low, high], [height] * 2, color=color, linewidth=1.3)
            left.plot([value], [height], "o", color=color, markersize=4)
        left.plot([], [], "o-", color=color, markersize=4, linewidth=1.3, label=name.replace("_", " "))
    for line, (key, _) in enumerate(lines):
        difference = f"pairwise - {REFERENCE}/{key}"
        right.plot(measured.intervals[difference], [line] * 2, color=COLORS["pairwise"], linewidth=1.6)
        right.plot([measured.values[difference]], [line], "o", color=COLORS["pairwise"], markersize=5)
    right.axvline(0.0, color="#444444", linewidth=1.0, linestyle="--")
    left.set_yticks(range(len(lines)), [words for _, words in lines], fontsize=9)
    left.set_ylim(len(lines) - 0.4, -1.1)
    left.set_xlim(-0.01, 1.01)
    left.annotate("accuracy in slices (rows)", (0.0, len(OVERALL) - 0.45), fontsize=8, color="#666666", va="top")
    left.set_title(title, loc="left", fontsize=10, fontweight="bold")
    right.set_title("pairwise minus semantic", loc="left", fontsize=10, fontweight="bold")
    figure.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=len(COLORS), frameon=False, fontsize=9)
    left.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
    right.xaxis.set_major_formatter(lambda x, _: f"{100 * x:+.3g} %" if x else "0")
    for axis in (left, right):
        axis.axhline(len(OVERALL) - 0.5, color="#bbbbbb", linewidth=0.8)
        axis.grid(alpha=0.25, linewidth=0.6, axis="x")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    figure.tight_layout(rect=(0, 0.045, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
