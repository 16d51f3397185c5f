"""λ* of a sweep from the frontier's slope: read within each seed, its section in the report, ``lambda_star.json``.

Seeds lie on frontiers of their own, at other heights. A concave hull over the runs of several seeds goes through
whichever lies highest, and its slope at d then is the difference of two seeds, not what reward a unit of cost buys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from csrlhf.errors import UserError
from csrlhf.report import Figure, Section, Table, Text
from csrlhf.report.blocks import Block
from csrlhf.runs.artifacts import write_json
from csrlhf.stats.lambda_star import frontier_slope
from csrlhf.sweeping import figures, frontier
from csrlhf.sweeping.frontier import Point, cost_name, is_rate, objective_points
from csrlhf.sweeping.table import Row, number

METHOD = "frontier slope at d"


@dataclass(frozen=True)
class SeedSlope:
    """What the runs of one seed tell.

    Attributes:
        seed: of the runs; empty where they do not say.
        value: the slope at d; NaN where there is none.
        lower: of the next segment to the right.
        upper: of the next to the left; infinite where there is none.
        points: the runs it was read from.
        reason: why there is none; empty where there is a value.
    """

    seed: str
    value: float
    lower: float
    upper: float
    points: tuple[Point, ...]
    reason: str = ""


@dataclass(frozen=True)
class Slope:
    """λ* at a threshold, over seeds.

    Attributes:
        threshold: d.
        value: the median of the seeds that tell; NaN where none does.
        lower: the lowest of their lower ends.
        upper: the highest of their upper ends; infinite where one of them is open.
        method: in words, with the number of seeds where they are several.
        seeds: all of them.
        reason: why no seed tells; empty where there is a value.
    """

    threshold: float
    value: float
    lower: float
    upper: float
    method: str
    seeds: tuple[SeedSlope, ...]
    reason: str = ""

    @property
    def telling(self) -> tuple[SeedSlope, ...]:
        """The seeds behind the value."""
        return tuple(one for one in self.seeds if not one.reason)

    @property
    def points(self) -> tuple[Point, ...]:
        """The runs behind the value."""
        return tuple(point for one in self.telling for point in one.points)

    @property
    def count(self) -> str:
        """How many seeds are behind the value."""
        told, there = len(self.telling), len(self.seeds)
        return f"{told} of {there} seeds" if told < there else f"{told} seed{'s' * (told > 1)}"

    @property
    def words(self) -> str:
        """How it was read, for a table: seeds, runs, and how far the seeds lie apart."""
        values = [one.value for one in self.telling]
        several = len(values) > 1
        apart = f" between {min(values):.3g} and {max(values):.3g}" if several else ""
        silent = "".join(f"; seed {one.seed} tells none: {one.reason}" for one in self.seeds if one.reason)
        return f"{METHOD}{', median' * several} of {self.count}{apart}, {len(self.points)} runs{silent}"


def slope(rows: Sequence[Row], constraint: str, threshold: float) -> Slope:
    """λ* as the slope of each seed's frontier at d: the median, and ends that hold the bracket of every seed."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_seed(row), []).append(row)
    seeds = tuple(_of_seed(seed, of, constraint, threshold) for seed, of in sorted(groups.items(), key=_order))
    told = [one for one in seeds if not one.reason]
    if not told:
        return Slope(threshold, math.nan, math.nan, math.nan, METHOD, seeds, _reason(seeds))
    words = METHOD if len(told) == 1 else f"{METHOD}, median of {len(told)} seeds"
    ends = min(one.lower for one in told), max(one.upper for one in told)
    return Slope(threshold, median(one.value for one in told), *ends, words, seeds)


def _of_seed(seed: str, rows: Sequence[Row], constraint: str, threshold: float) -> SeedSlope:
    points = tuple(objective_points(rows, constraint))
    nothing = seed, math.nan, math.nan, math.nan, points
    if len(points) < 2:
        count = f"{len(points)} finished run{'s' * (len(points) != 1)}"
        return SeedSlope(*nothing, f"{count}; the slope needs two or more, with different λ and the same seed")
    try:
        found = frontier_slope([point.cost for point in points], [point.reward for point in points], threshold)
    except UserError as error:
        return SeedSlope(*nothing, str(error))
    return SeedSlope(seed, found.value, found.lower, found.upper, points)


def _reason(seeds: Sequence[SeedSlope]) -> str:
    """Why none of the seeds tells: one's own reason, or that of each."""
    if len(seeds) == 1:
        return seeds[0].reason
    each = "; ".join(f"seed {one.seed}: {one.reason}" for one in seeds)
    return f"no estimate from {len(seeds)} seeds ({each})" if seeds else "no finished runs; the slope needs two or more"


def _seed(row: Row) -> str:
    value = number(row, "seed")
    return f"{value:g}" if math.isfinite(value) else ""


def _order(group: tuple[str, list[Row]]) -> float:
    return float(group[0] or -1)


LAMBDA_STAR = "lambda_star.json"


def slopes_of(rows: Sequence[Row], threshold: float | None) -> list[Slope]:
    """λ* at the threshold asked for, then at the runs' others. None with several constraints: each has its own λ*."""
    names = frontier.constraints_of(rows)
    if len(names) != 1:
        return []
    first = threshold if threshold is not None else frontier.usual_threshold(rows, names[0])
    if first is None:
        return []
    others = [value for value in frontier.thresholds_of(rows, names[0]) if value != first]
    return [slope(rows, names[0], value) for value in (first, *others)]


def multiplier_section(done: Sequence[Row], slopes: Sequence[Slope]) -> Section:
    """The report's section on λ*."""
    blocks: list[Block] = [
        Text(
            "Above λ* a fixed multiplier keeps the constraint; take at least twice λ* (docs/explanation/algorithm.md). "
            "The frontier's slope at the threshold is one estimate of it: the reward, less β KL, that a unit of cost "
            "buys there. It is read within each seed, whose runs share a frontier; the median is given. Its bounds are "
            "the slopes of the neighbouring segments, the widest of all seeds, not a confidence interval; one seed "
            "cannot show how far off another would be. Dual runs and the gate's duty cycle give other estimates."
        )
    ]
    names = frontier.constraints_of(done)
    if len(names) > 1:
        blocks.append(Text(f"Not read here: with several constraints ({', '.join(names)}) each has a λ* of its own."))
    rows: list[list[object]] = []
    for one in slopes:
        if one.reason:
            rows.append([one.threshold, None, None, None, f"none: {one.reason}"])
        else:
            upper = one.upper if math.isfinite(one.upper) else None
            rows.append([one.threshold, one.value, one.lower, upper, one.words])
    one_sweep = len({row["sweep"] for row in done}) == 1
    for row in done:
        if "lambda_star/value" in row and names:
            bounds = [row.get(f"lambda_star/{key}") for key in ("value", "lower", "upper")]
            bounds = [value if isinstance(value, int | float) and math.isfinite(value) else None for value in bounds]
            name = row["id"] if one_sweep else f"{row['sweep']}, {row['id']}"
            how = f"{row.get('lambda_star/method')}, {name}"
            rows.append([row.get(f"threshold/{names[0]}"), *bounds, how])
    if rows:
        caption = "Estimates of λ*; an open end is a gap."
        blocks.append(Table(["d", "λ*", "from", "to", "read from"], rows, caption, name="lambda_star"))
    if slopes and not slopes[0].reason:
        cost, percent = cost_name(done, names[0]), is_rate(done, names[0])
        blocks.append(
            Figure(
                name="lambda_star",
                draw=figures.draw_slope(slopes[0], cost, percent),
                alt=f"Reward less β KL against {cost}, with the slope {slopes[0].value:.3g} at {slopes[0].threshold:g}",
                caption="Where training settled in each run, a colour per seed, and the slope of each seed's frontier "
                "at the threshold (dashed).",
            )
        )
    return Section("The optimal multiplier λ*", blocks)


def write_multiplier(path: Path, slopes: Sequence[Slope]) -> None:
    """``lambda_star.json``, which ``stage=certify`` reads; an old one does not outlive the runs it was read from."""
    if not slopes or slopes[0].reason:
        path.unlink(missing_ok=True)
        return
    first = slopes[0]
    content = {key: getattr(first, key) for key in ("value", "lower", "upper", "method", "threshold")}
    content["seeds"] = [
        {key: getattr(one, key) for key in ("seed", "value", "lower", "upper", "reason")} for one in first.seeds
    ]
    content["points"] = [
        {"run": point.name, "seed": one.seed, "cost": point.cost, "objective": point.reward}
        for one in first.telling
        for point in one.points
    ]
    others = [one for one in slopes[1:] if not one.reason]
    content["others"] = [{key: getattr(one, key) for key in ("threshold", "value", "lower", "upper")} for one in others]
    write_json(path, content)
