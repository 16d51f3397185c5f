"""One scenario of the coverage study: a world whose truth is known, a bound, and how often the bound is right.

Legend of suffixes: R replicates, N values of one replicate.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

Kind = Literal["holds", "control", "approximate"]

FAMILY_LEVEL = 0.01
"""Probability that a study of bounds that all hold says that one of them does not; split over the scenarios."""


@dataclass(frozen=True)
class Draws:
    """What the replicates of a scenario gave.

    Attributes:
        covered_R: whether the statement was true.
        bound_R: the number stated.
        truth: what it is about.
    """

    covered_R: NDArray[np.bool_]
    bound_R: NDArray[np.float64]
    truth: float


Simulate = Callable[[np.random.Generator, int], Draws]
"""Draws so many replicates."""


@dataclass(frozen=True)
class Scenario:
    """A world and a bound.

    Attributes:
        world: in words.
        bound: in words.
        count: independent units, the n of the table.
        delta: δ; the bound promises 1 - δ.
        simulate: draws the replicates.
        kind: ``holds`` must cover, a negative ``control`` must not, an ``approximate`` bound is measured and promises
            nothing.
    """

    world: str
    bound: str
    count: int
    delta: float
    simulate: Simulate
    kind: Kind = "holds"

    @property
    def key(self) -> str:
        """Names it among all scenarios."""
        return f"{self.world} | {self.bound} | {self.count} | {self.delta:g}"


@dataclass(frozen=True)
class Outcome:
    """A line of the table.

    Attributes:
        replicates: how many were drawn.
        coverage: share of true statements.
        bound: mean of the numbers stated.
        truth: what they are about.
        p_value: P(so few true statements or fewer | the coverage is 1 - δ).
    """

    world: str
    bound_name: str
    count: int
    delta: float
    kind: Kind
    replicates: int
    coverage: float
    bound: float
    truth: float
    p_value: float

    def under_covers(self, num_scenarios: int) -> bool:
        """Whether the coverage is too small for chance, Bonferroni over the scenarios."""
        return self.p_value < FAMILY_LEVEL / num_scenarios

    def as_expected(self, num_scenarios: int) -> bool:
        """Bounds that hold cover, controls do not; of the approximate nothing is expected."""
        return self.kind == "approximate" or self.under_covers(num_scenarios) == (self.kind == "control")


def run(scenario: Scenario, replicates: int, seed: int) -> Outcome:
    """Draw and count. The noise depends on the seed and the scenario's words alone, not on what else is run."""
    rng = np.random.default_rng([seed, zlib.crc32(scenario.key.encode())])
    draws = scenario.simulate(rng, replicates)
    hits = int(draws.covered_R.sum())
    p_value = binomtest(hits, replicates, 1 - scenario.delta, alternative="less").pvalue
    return Outcome(
        world=scenario.world,
        bound_name=scenario.bound,
        count=scenario.count,
        delta=scenario.delta,
        kind=scenario.kind,
        replicates=replicates,
        coverage=hits / replicates,
        bound=float(draws.bound_R.mean()),
        truth=draws.truth,
        p_value=float(p_value),
    )


def upper(bound_R: ArrayLike, truth: float) -> Draws:
    """Draws of an upper bound."""
    stated_R = np.asarray(bound_R, dtype=np.float64)
    return Draws(stated_R >= truth, stated_R, truth)


def lower(bound_R: ArrayLike, truth: float) -> Draws:
    """Draws of a lower bound."""
    stated_R = np.asarray(bound_R, dtype=np.float64)
    return Draws(stated_R <= truth, stated_R, truth)


def per_count(bound: Callable[..., float], *count_R: ArrayLike) -> NDArray[np.float64]:
    """``bound`` of each replicate's counts, computed once for each that occurs."""
    rows, place_R = np.unique(np.stack([np.asarray(count) for count in count_R], axis=1), axis=0, return_inverse=True)
    return np.array([bound(*(int(number) for number in row)) for row in rows])[place_R.ravel()]


def per_sample(bound: Callable[..., float], value_RN: NDArray[Any]) -> NDArray[np.float64]:
    """``bound`` of each replicate's values."""
    return np.array([bound(value_N) for value_N in value_RN])
