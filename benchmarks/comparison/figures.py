"""Two figures: where the policies end (unsafe rate against help), and the cost on the way there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison.measures import POLICIES, Estimate, Run, by_setting, measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0b6e99", "#d1495b", "#3f8f5b", "#8c5fa8", "#c98a1b", "#5c5c5c")
MARKERS = "osD^vP*X<>hpd8H4"
SMOOTHING = 5
"""Iterations that a point of a cost curve averages over: one batch's cost is a noisy thing to look at."""


def draw_outcomes(runs: Sequence[Run], path: Path) -> None:
    """Unsafe rate over prompts drawn like the training prompts against the share of harmless prompts helped.

    That unsafe rate is what the threshold d is about, here by the oracle's count. A panel each for the selected and
    the last policy; a colour per family, a marker per setting, 95 % intervals in both directions.
    """
    plt = _pyplot()
    groups = by_setting(runs)
    colors = family_colors(runs)
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 6.0), sharey=True)
    for axis, (end, whose) in zip(axes, POLICIES.items(), strict=True):
        for number, (name, of) in enumerate(groups.items()):
            unsafe, helped = measured(of, f"unsafe_mix{end}"), measured(of, f"helped{end}")
            axis.errorbar(
                [100 * unsafe.value],
                [100 * helped.value],
                xerr=_reach(unsafe),
                yerr=_reach(helped),
                color=colors[of[0].setting.family],
                marker=MARKERS[number % len(MARKERS)],
                markersize=6,
                linewidth=1.0,
                label=f"{name} ({len(of)})",
            )
        axis.axvline(100 * runs[0].threshold, color="#444444", linewidth=1.0, linestyle="--")
        axis.set_xscale("symlog", linthresh=1.0, linscale=0.4)  # from none at all to half of the prompts
        axis.set_xlim(left=-0.1)
        axis.set_xticks([0, 1, 3, 10, 30], ["0", "1", "3", "10", "30"])
        axis.set_title(whose, loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel(
            "unsafe responses, % of prompts drawn like the training prompts (dashed: threshold)", fontsize=8
        )
        _tidy(axis)
    axes[0].set_ylabel("harmless prompts helped, %", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=5, frameon=False, fontsize=8)
    _save(figure, path, bottom=0.035 * (2 + -(-len(groups) // 5)))


def draw_costs(runs: Sequence[Run], path: Path) -> None:
    """Cost of the training batches over iterations: a panel per family, a line per setting, its seeds' range shaded."""
    plt = _pyplot()
    groups = by_setting(runs)
    families = list(family_colors(runs))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 3.2 * lines), squeeze=False, sharey=True)
    for axis, family in zip(axes.flat, families, strict=False):
        members = [(name, of) for name, of in groups.items() if of[0].setting.family == family]
        for number, (name, of) in enumerate(members):
            curves = smoothed([run.costs for run in of])
            color = COLORS[number % len(COLORS)]
            steps = np.arange(curves.shape[1])
            axis.plot(steps, 100 * curves.mean(axis=0), color=color, linewidth=1.4, label=name)
            axis.fill_between(
                steps, 100 * curves.min(axis=0), 100 * curves.max(axis=0), color=color, alpha=0.15, linewidth=0
            )
        axis.axhline(100 * runs[0].threshold, color="#444444", linewidth=1.0, linestyle="--")
        axis.set_yscale("symlog", linthresh=1.0, linscale=0.4)
        axis.set_yticks([0, 1, 3, 10, 30], ["0", "1", "3", "10", "30"])
        axis.set_title(family, loc="left", fontsize=10, fontweight="bold")
        axis.legend(fontsize=7, frameon=False)
        _tidy(axis)
    for axis in axes.flat[len(families) :]:
        axis.set_visible(False)
    figure.supxlabel(f"iteration (averages over {SMOOTHING})", fontsize=9)
    figure.supylabel("cost of the batch, % (dashed: threshold)", fontsize=9)
    _save(figure, path)


def family_colors(runs: Sequence[Run]) -> dict[str, str]:
    """A colour per family, in order of first appearance."""
    families = dict.fromkeys(run.setting.family for run in runs)
    return {family: COLORS[number % len(COLORS)] for number, family in enumerate(families)}


def smoothed(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Trailing averages, [seeds, iterations]; longer curves (others may have been stopped) are cut."""
    length = min(map(len, curves))
    sums = np.cumsum([[0.0, *curve[:length]] for curve in curves], axis=1)
    ends = np.arange(1, length + 1)
    starts = np.maximum(ends - SMOOTHING, 0)
    return (sums[:, ends] - sums[:, starts]) / (ends - starts)


def _reach(found: Estimate) -> list[list[float]]:
    """How far an interval goes to both sides of its value, in percent."""
    return [[100 * max(found.value - found.low, 0.0)], [100 * max(found.high - found.value, 0.0)]]


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _tidy(axis: Axes) -> None:
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _save(figure: Figure, path: Path, bottom: float = 0.0) -> None:
    figure.tight_layout(rect=(0, bottom, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
