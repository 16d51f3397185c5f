"""Scenarios of λ*: upper ends read from runs whose iterations go together. Approximate, no part of a certificate.

The duty cycle is read from real ascents of the bandit, whose gates open as the policy makes them: gates that were drawn
with the rate in question could not show that a gate is biased.

Legend of suffixes: R replicates, T iterations.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from benchmarks.bandit.gates import ascend
from benchmarks.bandit.problem import example
from benchmarks.certificates.world import Draws, Scenario, Simulate, per_sample, upper
from csrlhf.penalties import Rectified
from csrlhf.stats.lambda_star import dual_tail, duty_cycle_estimate

OPTIMAL = 1.5
"""λ* of the dual's history."""
RATIO, STEPS, TOGETHER = 3.0, 600, 250
"""λ / λ* of the bandit's runs, their steps, and how many are made side by side."""
MEMORY = 0.5
"""Correlation of neighbouring iterations."""


def lambda_scenarios() -> list[Scenario]:
    """Both readings of a history, over stationary runs."""
    world, count, bandit = f"late history, neighbours correlated {MEMORY:g}", 300, "the bandit's own gates"
    own = "λ*, duty cycle of a gate that saw its batch"
    return [
        Scenario(bandit, "λ*, duty cycle", STEPS, 0.05, duty_cycle("leave_one_out", 0.05), "approximate"),
        Scenario(bandit, own, STEPS, 0.05, duty_cycle("batch", 0.05), "control"),
        Scenario(world, "λ*, dual tail", count, 0.05, dual(count, 0.05), "approximate"),
    ]


def noise(rng: np.random.Generator, replicates: int, count: int) -> np.ndarray:
    """Stationary first-order autoregressive noise with variance 1, [R, T]."""
    fresh_RT = rng.standard_normal((replicates, count)) * np.sqrt(1 - MEMORY**2)
    fresh_RT[:, 0] /= np.sqrt(1 - MEMORY**2)
    # without an initial state it returns the array alone, which its types do not say
    return lfilter([1.0], [1.0, -MEMORY], fresh_RT, axis=1)  # pyright: ignore[reportReturnType]


def duty_cycle(gate: str, delta: float) -> Simulate:
    """Ascents from the bandit's optimum with λ = 3 λ*, read as of a gate that sees other draws than it acts on."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        bandit, bounds = example(), []
        optimal = bandit.solve()
        multiplier = RATIO * optimal
        for rows in np.array_split(np.arange(replicates), max(1, replicates // TOGETHER)):
            penalty, seed = Rectified(multiplier, margin_z=0.0), int(rng.integers(2**31))
            found = ascend(bandit, penalty, gate, 0.1, steps=STEPS, replicates=len(rows), seed=seed)
            gates_RT = found.weight_SR.T / multiplier
            bounds.append(
                per_sample(
                    lambda gates: duty_cycle_estimate(multiplier, gates, "fixed", "previous", 1 - delta).upper, gates_RT
                )
            )
        return upper(np.concatenate(bounds), optimal)

    return simulate


def dual(count: int, delta: float) -> Simulate:
    """A multiplier that swings around λ*."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        multiplier_RT = OPTIMAL + 0.2 * noise(rng, replicates, count)
        return upper(per_sample(lambda row: dual_tail(row, 1 - delta).upper, multiplier_RT), OPTIMAL)

    return simulate
