"""Scenarios of λ*: upper ends read from runs whose iterations go together. Approximate, no part of a certificate.

Legend of suffixes: R replicates, T iterations.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from benchmarks.certificates.world import Draws, Scenario, Simulate, per_sample, upper
from csrlhf.stats.lambda_star import dual_tail, duty_cycle_estimate

OPTIMAL, FIXED = 1.5, 5.0
"""λ*, and the λ of the run with a plain gate: it is open in 3 of 10 late iterations."""
MEMORY = 0.5
"""Correlation of neighbouring iterations."""


def lambda_scenarios() -> list[Scenario]:
    """Both readings of a history, over stationary runs."""
    world, count = f"late history, neighbours correlated {MEMORY:g}", 300
    return [
        Scenario(world, "λ*, duty cycle", count, 0.05, duty_cycle(count, 0.05), "approximate"),
        Scenario(world, "λ*, dual tail", count, 0.05, dual(count, 0.05), "approximate"),
    ]


def noise(rng: np.random.Generator, replicates: int, count: int) -> np.ndarray:
    """Stationary first-order autoregressive noise with variance 1, [R, T]."""
    fresh_RT = rng.standard_normal((replicates, count)) * np.sqrt(1 - MEMORY**2)
    fresh_RT[:, 0] /= np.sqrt(1 - MEMORY**2)
    # without an initial state it returns the array alone, which its types do not say
    return lfilter([1.0], [1.0, -MEMORY], fresh_RT, axis=1)  # pyright: ignore[reportReturnType]


def duty_cycle(count: int, delta: float) -> Simulate:
    """A plain gate that is open where the batch's cost, with its noise, is above d."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        open_RT = noise(rng, replicates, count) > norm.isf(OPTIMAL / FIXED)
        bounds = per_sample(
            lambda gates: duty_cycle_estimate(FIXED, gates, "fixed", "previous", 1 - delta).upper, open_RT
        )
        return upper(bounds, OPTIMAL)

    return simulate


def dual(count: int, delta: float) -> Simulate:
    """A multiplier that swings around λ*."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        multiplier_RT = OPTIMAL + 0.2 * noise(rng, replicates, count)
        return upper(per_sample(lambda row: dual_tail(row, 1 - delta).upper, multiplier_RT), OPTIMAL)

    return simulate
