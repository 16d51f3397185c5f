"""Scenarios about the mean of the worst costs (CVaR): exact order statistics, and the uniform band as a comparison."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta

from benchmarks.certificates.rates import BETA, BETA_MEAN
from benchmarks.certificates.world import Draws, Scenario, Simulate, lower, per_sample, upper
from csrlhf.stats.tail_mean import tail_mean_estimate

ALPHA = 0.9


def tail_scenarios() -> list[Scenario]:
    """The worst tenth of skewed costs, from above and from below, and of zeros and ones."""
    world = f"Beta(0.1, 1.9) costs, the worst {1 - ALPHA:.0%}"
    rare = f"Bernoulli 0.03, the worst {1 - ALPHA:.0%}"
    return [
        Scenario(world, "order statistics", 300, 0.05, beta_tail(300, 0.05)),
        Scenario(world, "order statistics", 1000, 0.05, beta_tail(1000, 0.05)),
        Scenario(world, "order statistics, lower bound", 300, 0.05, beta_tail(300, 0.05, below=True)),
        Scenario(rare, "order statistics", 1000, 0.05, bernoulli_tail(0.03, 1000, 0.05)),
    ]


def beta_truth() -> float:
    """``E[X given X above its α-quantile]`` of the beta distribution, in closed form."""
    a, b = BETA
    start = beta.ppf(ALPHA, a, b)
    return float(BETA_MEAN * beta.sf(start, a + 1, b) / (1 - ALPHA))


def beta_tail(count: int, delta: float, below: bool = False) -> Simulate:
    """Costs that are nearly all 0."""
    truth = beta_truth()

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        cost_RN = rng.beta(*BETA, size=(replicates, count))
        if below:
            return lower(per_sample(lambda cost_N: tail_mean_estimate(cost_N, ALPHA, 1 - delta).lower, cost_RN), truth)
        return upper(per_sample(lambda cost_N: tail_mean_estimate(cost_N, ALPHA, 1 - delta).upper, cost_RN), truth)

    return simulate


def bernoulli_tail(rate: float, count: int, delta: float) -> Simulate:
    """Zeros and ones, fewer ones than the tail holds."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        cost_RN = (rng.random((replicates, count)) < rate).astype(float)
        truth = rate / (1 - ALPHA)
        return upper(per_sample(lambda cost_N: tail_mean_estimate(cost_N, ALPHA, 1 - delta).upper, cost_RN), truth)

    return simulate
