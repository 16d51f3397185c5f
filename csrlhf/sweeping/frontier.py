"""Pure functions on the rows of finished runs: Pareto frontier, grids for heat maps, thresholds, the best run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csrlhf.sweeping.table import BEST, FINISHED, LATE, Row, number


@dataclass(frozen=True)
class Point:
    """A policy between cost and reward.

    Attributes:
        name: of its run.
        cost: J.
        reward: what is maximised.
    """

    name: str
    cost: float
    reward: float


@dataclass(frozen=True)
class Grid:
    """A number over two settings; means over the runs that share both.

    Attributes:
        rows: values of the first setting, rising.
        columns: of the second.
        values: one list a row; NaN where there is no run.
        counts: runs behind each.
    """

    rows: list[Any]
    columns: list[Any]
    values: list[list[float]]
    counts: list[list[int]]


def pareto(points: Iterable[Point]) -> list[Point]:
    """Those that no other one beats: lower cost at no less reward, or more reward at no more cost; by rising cost."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.reward)):
        if not best or point.reward > best[-1].reward:
            best.append(point)
    return best


def points_of(rows: Sequence[Row], constraint: str, when: str = BEST) -> list[Point]:
    """The rows' policies: selected (``best/``), or after convergence (``late/``)."""
    cost, reward = f"{when}validation/{constraint}/cost", f"{when}validation/reward"
    found = [Point(str(row["id"]), number(row, cost), number(row, reward)) for row in rows]
    return [point for point in found if math.isfinite(point.cost) and math.isfinite(point.reward)]


def objective_points(rows: Sequence[Row], constraint: str) -> list[Point]:
    """Where training settled: J against reward less β KL, what the runs maximise beside the costs."""
    found = []
    for row in rows:
        kl, coefficient = number(row, f"{LATE}validation/kl"), number(row, f"{LATE}policy/kl_coef")
        for point in points_of([row], constraint, LATE):
            found.append(Point(point.name, point.cost, point.reward - coefficient * kl))
    return [point for point in found if math.isfinite(point.reward)]


def grid(rows: Sequence[Row], first: str, second: str, key: str) -> Grid:
    """``key`` over two settings; runs without one of the three are left out."""
    cells: dict[tuple[Hashable, Hashable], list[float]] = {}
    for row in rows:
        if first in row and second in row and math.isfinite(number(row, key)):
            cells.setdefault((row[first], row[second]), []).append(number(row, key))
    lines, columns = (sorted({cell[side] for cell in cells}, key=_order) for side in (0, 1))
    found = [[cells.get((line, column), []) for column in columns] for line in lines]
    values = [[math.fsum(cell) / len(cell) if cell else math.nan for cell in line] for line in found]
    return Grid(lines, columns, values, [[len(cell) for cell in line] for line in found])


def axes_of(rows: Sequence[Row], constraint: str) -> tuple[str, str] | None:
    """The two settings of a heat map: λ and threshold where both vary, else the first two that do; None where less."""
    varied = [key for key in ("multiplier", f"threshold/{constraint}") if _varies(rows, key)]
    others = [key for row in rows for key in row if "." in key and "/" not in key]
    known = ("penalty.multiplier", f"constraints.{constraint}.threshold")
    varied += [key for key in dict.fromkeys(others) if key not in known and _varies(rows, key)]
    return (varied[0], varied[1]) if len(varied) > 1 else None


def constraints_of(rows: Sequence[Row]) -> list[str]:
    """The constraints' names."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("threshold/"))
    return [key.removeprefix("threshold/") for key in keys]


def finished(rows: Sequence[Row]) -> list[Row]:
    """The rows of runs that have ended well."""
    return [row for row in rows if row.get("status") == FINISHED]


def thresholds_of(rows: Sequence[Row], constraint: str) -> list[float]:
    """The distinct thresholds, rising."""
    found = {number(row, f"threshold/{constraint}") for row in rows}
    return sorted(value for value in found if math.isfinite(value))


def usual_threshold(rows: Sequence[Row], constraint: str) -> float | None:
    """The threshold of most runs; of several that are as frequent the one in the middle."""
    counts = Counter(number(row, f"threshold/{constraint}") for row in rows)
    counts = Counter({value: count for value, count in counts.items() if math.isfinite(value)})
    if not counts:
        return None
    most = sorted(value for value, count in counts.items() if count == max(counts.values()))
    return most[(len(most) - 1) // 2]


def best_run(rows: Sequence[Row]) -> Row | None:
    """The feasible run with the highest reward of its selected policy."""
    feasible = [row for row in rows if row.get("selection/best_feasible") == 1]
    return max(feasible, key=lambda row: number(row, "selection/best_reward"), default=None)


def is_rate(rows: Sequence[Row], name: str) -> bool:
    """Whether the cost is a share of the answers."""
    return any(row.get(f"statistic/{name}") == "chance" for row in rows)


def cost_name(rows: Sequence[Row], name: str) -> str:
    """What the axis of a constraint's cost is called."""
    return "unsafe answers (cost model)" if is_rate(rows, name) and name == "harm" else f"cost {name}"


def _varies(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    values = {str(row[key]) for row in rows if row.get(key) is not None}
    return len(values) > 1


def _order(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))
