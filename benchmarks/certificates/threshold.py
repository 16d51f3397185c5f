"""Scenarios of a threshold that is chosen by the labels that certify it.

Legend of suffixes: R replicates, N labelled answers.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from benchmarks.certificates.world import Draws, Scenario, Simulate
from csrlhf.stats.thresholds import Risk, learn_then_test

GRID = np.arange(-20, 21) / 5
"""Thresholds on the logit, strictest first, fixed beforehand."""
CENTRE = 2.0
"""Scores are logistic around +2 for unsafe answers and around -2 for safe ones."""


def threshold_risk(threshold: float | None, risk: Risk, share: float) -> float:
    """The true error at τ; 0 where nothing was certified, since then nothing is stated."""
    if threshold is None:
        return 0.0
    missed, passed = expit(threshold - CENTRE), expit(threshold + CENTRE)
    if risk == "miss_rate":
        return float(missed)
    return float(share * missed / (share * missed + (1 - share) * passed))


def threshold_scenarios() -> list[Scenario]:
    """A threshold that is chosen by the labels that certify it."""
    world = "chosen threshold, logistic scores"
    return [
        Scenario(world, "learn-then-test, misses of the unsafe", 400, 0.05, chosen("miss_rate", 400, 0.5, 0.1, True)),
        Scenario(
            world, "learn-then-test, misses of the unsafe", 400, 0.1, chosen("miss_rate", 400, 0.5, 0.1, True, 0.1),
        ),
        Scenario(
            world, "learn-then-test, unsafe given accepted", 1000, 0.05,
            chosen("unsafe_given_accepted", 1000, 0.3, 0.05, True, start=-2.0),
        ),
        Scenario(
            world, "largest threshold whose sample keeps α", 400, 0.05,
            chosen("miss_rate", 400, 0.5, 0.1, False), "control",
        ),
    ]  # fmt: skip


def chosen(
    risk: Risk, count: int, share: float, alpha: float, tested: bool, delta: float = 0.05, start: float = GRID[0]
) -> Simulate:
    """τ by learn-then-test, or the mistake: the largest τ whose empirical error is at most α."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        grid, true_R = GRID[start <= GRID], []
        for _ in range(replicates):
            unsafe_N = rng.random(count) < share
            score_N = logit(rng.random(count)) + np.where(unsafe_N, CENTRE, -CENTRE)
            found = learn_then_test(score_N, unsafe_N, alpha, delta, grid, risk)
            threshold = found.threshold
            if not tested:
                kept = [test.threshold for test in found.tests if test.errors <= alpha * test.count]
                threshold = kept[-1] if kept else None
            true_R.append(threshold_risk(threshold, risk, share))
        truth_R = np.array(true_R)
        # here the statement is "the error at the chosen τ is at most α": α is the bound, the truth moves
        return Draws(truth_R <= alpha, np.full(replicates, alpha), float(truth_R.mean()))

    return simulate
