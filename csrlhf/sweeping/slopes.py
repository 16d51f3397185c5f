"""λ* from the frontier's slope, read within each seed: seeds lie on frontiers of their own, at other heights.

A concave hull over the runs of several seeds goes through whichever lies highest, and its slope at d then is the
difference of two seeds, not what reward a unit of cost buys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from csrlhf.errors import UserError
from csrlhf.stats.lambda_star import frontier_slope
from csrlhf.sweeping.frontier import Point, objective_points
from csrlhf.sweeping.outcome import Row
from csrlhf.sweeping.table import number

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
    """Why no seed gives an estimate: its reason, or that of each."""
    if len(seeds) == 1:
        return seeds[0].reason
    each = "; ".join(f"seed {one.seed}: {one.reason}" for one in seeds)
    return f"no estimate from {len(seeds)} seeds ({each})" if seeds else "no finished runs; the slope needs two or more"


def _seed(row: Row) -> str:
    value = number(row, "seed")
    return f"{value:g}" if math.isfinite(value) else ""


def _order(group: tuple[str, list[Row]]) -> float:
    return float(group[0] or -1)
