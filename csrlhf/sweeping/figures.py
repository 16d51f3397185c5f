"""The drawings of a sweep's report (frontier, heat map, slope): each is handed matplotlib axes and a palette."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from csrlhf.report import Palette
from csrlhf.sweeping.frontier import Grid, Point, pareto

if TYPE_CHECKING:
    from csrlhf.report.figures import Draw
    from csrlhf.sweeping.multiplier import Slope

MARKERS = "osD^vP*X<>hpd8"
LINES = ("-", "--", ":", "-.")
FEW = 5
"""So many curves leave room for a legend among them."""
MANY = 4
"""So many thresholds are drawn as lines; of more none would be told from the next."""


FAR = 5
STEPS = 40


def draw_frontier(
    groups: Mapping[tuple[str, str], Sequence[Point]], thresholds: Sequence[float], cost: str, percent: bool, title: str
) -> Draw:
    """Every run as a point, the Pareto frontier of each group as a line.

    Args:
        groups: points of a curve by strategy, which has its own colour, and sweep, which has its own line; the sweep is
            empty where one alone has the strategy.
        thresholds: d, as dashed lines.
        cost: name of the cost's axis.
        percent: whether the cost is a rate.
        title: above the axes.
    """
    factor = 100 if percent else 1

    def draw(axes: Any, palette: Palette) -> None:
        strategies = list(dict.fromkeys(strategy for strategy, _ in groups))
        sweeps = list(dict.fromkeys(sweep for _, sweep in groups))
        for (strategy, sweep), points in groups.items():
            place, line = strategies.index(strategy), sweeps.index(sweep) % len(LINES)
            color, marker = palette.series[place % len(palette.series)], MARKERS[place % len(MARKERS)]
            look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 5, "linestyle": LINES[line]}
            look["markerfacecolor"] = color if line == 0 else "none"
            costs, rewards = [factor * point.cost for point in points], [point.reward for point in points]
            axes.plot(costs, rewards, **(look | {"linestyle": "", "alpha": 0.45}))
            best = pareto(points)
            name = f"{strategy}, {sweep}" if sweep else strategy
            axes.plot(
                [factor * point.cost for point in best],
                [point.reward for point in best],
                label=f"{name} ({len(points)})",
                **look,
            )
        for threshold in thresholds if len(thresholds) <= MANY else ():
            axes.axvline(factor * threshold, color=palette.bad, linewidth=1.0, linestyle="--")
        _cost_axis(axes, [point.cost for points in groups.values() for point in points], thresholds, cost, percent)
        axes.set_ylabel("reward")
        axes.set_title(title)
        if len(groups) <= FEW:
            axes.legend(loc="best")
        else:  # below the axes, where it hides no run
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=2, fontsize=7, columnspacing=1, handlelength=1.8
            )

    return draw


def frontier_size(curves: int) -> tuple[float, float]:
    """Inches of a frontier's picture: with room for the legend below it, where there is one."""
    return (5.2, 3.3 if curves <= FEW else 3.5 + 0.09 * (curves + 1))


def draw_heat(grid: Grid, feasible: Grid, first: str, second: str, percent: bool, title: str) -> Draw:
    """A number over two settings; where no run is finished the cell stays empty.

    Args:
        grid: the number.
        feasible: the share of runs whose selected policy is feasible, over the same settings.
        first: name of the rows' setting.
        second: of the columns'.
        percent: whether the number is a rate.
        title: above the axes.
    """
    shares = {
        (line, column): feasible.values[y][x]
        for y, line in enumerate(feasible.rows)
        for x, column in enumerate(feasible.columns)
    }

    def draw(axes: Any, palette: Palette) -> None:
        found = [value for line in grid.values for value in line if math.isfinite(value)]
        low, high = min(found, default=0.0), max(found, default=1.0)
        axes.imshow(grid.values, cmap="cividis", aspect="auto", vmin=low, vmax=high)  # NaN is not drawn
        for y, line in enumerate(grid.values):
            for x, value in enumerate(line):
                if not math.isfinite(value):
                    axes.text(x, y, "no run", ha="center", va="center", color=palette.muted, fontsize=8)
                    continue
                light = high > low and (value - low) / (high - low) > 0.55
                words = f"{100 * value:.1f} %" if percent else f"{value:.3g}"
                if shares.get((grid.rows[y], grid.columns[x])) == 0:
                    words += "\ninfeasible"
                axes.text(x, y, words, ha="center", va="center", color="#111111" if light else "#ffffff", fontsize=8.5)
        axes.set_xticks(range(len(grid.columns)), [_short(value) for value in grid.columns])
        axes.set_yticks(range(len(grid.rows)), [_short(value) for value in grid.rows])
        axes.set_xlabel(second)
        axes.set_ylabel(first)
        axes.set_title(title)
        axes.grid(visible=False)

    return draw


def draw_slope(found: Slope, cost: str, percent: bool) -> Draw:
    """The runs between cost and objective, and through each seed's frontier the line with its slope at d."""
    factor = 100 if percent else 1

    def draw(axes: Any, palette: Palette) -> None:
        d = found.threshold
        for place, one in enumerate(found.telling):
            color, alone = palette.series[place % len(palette.series)], len(found.telling) == 1
            costs = [point.cost for point in one.points]
            axes.scatter([factor * of for of in costs], [point.reward for point in one.points], s=24, color=color)
            height = _hull_height(one.points, d)
            reach = min(0.25 * (max(costs) - min(costs)), 2 * abs(d))
            low, high = max(d - reach, min(costs)), d + reach
            ends = [low + (high - low) * step / STEPS for step in range(STEPS + 1)]  # a curve on a logarithmic axis
            axes.plot(
                [factor * end for end in ends],
                [height + one.value * (end - d) for end in ends],
                color=palette.series[1] if alone else color,
                label=f"slope {one.value:.3g}" if alone else f"seed {one.seed}: slope {one.value:.3g}",
            )
        axes.axvline(factor * d, color=palette.bad, linewidth=1.0, linestyle="--")
        _cost_axis(axes, [point.cost for point in found.points], [d], cost, percent)
        axes.set_ylabel("reward - β KL")
        axes.set_title("λ* as the frontier's slope")
        axes.legend(loc="best")

    return draw


def _cost_axis(axes: Any, costs: Sequence[float], thresholds: Sequence[float], name: str, percent: bool) -> None:
    """Of rates: logarithmic above 1 % where they lie far beyond the threshold, which would be lost at the edge."""
    axes.set_xlabel(f"{name}, %" if percent else name)
    if percent and max(costs) > FAR * max(thresholds, default=1.0):
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.4)
        axes.set_xlim(left=-0.1)
        axes.set_xticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
        axes.set_xlim(right=min(100.0, 130 * max(costs)))


def _hull_height(points: Sequence[Point], cost: float) -> float:
    """How high the least concave function over the points lies at a cost: the best mixture of two of them."""
    left = [point for point in points if point.cost <= cost]
    right = [point for point in points if point.cost >= cost]
    heights = [
        a.reward + (b.reward - a.reward) * ((cost - a.cost) / (b.cost - a.cost) if b.cost > a.cost else 0.0)
        for a in left
        for b in right
    ]
    return max(heights)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
