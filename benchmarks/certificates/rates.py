"""Scenarios about a rate or a mean cost: independent prompts, costs in a range, clustered answers, the best of runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.certificates.world import Draws, Scenario, Simulate, lower, per_count, per_sample, upper
from csrlhf.stats.bounds import (
    betting_upper,
    clopper_pearson_lower,
    clopper_pearson_upper,
    empirical_bernstein_upper,
    hoeffding_upper,
    student_upper,
)
from csrlhf.stats.estimates import split_confidence

BETA = (0.1, 1.9)
"""Costs with mean 0.05 that are nearly all 0: a tenth of the prompts makes most of it."""
BETA_MEAN = BETA[0] / sum(BETA)
ANSWERS = 5
"""Answers per prompt of a clustered sample."""
STUBBORN = (0.025, 0.475)
"""P(unsafe) of prompts that are nearly always, or nearly never, answered unsafely."""
NUM_RUNS = 10
"""Runs of which the best is certified."""


def rate_scenarios() -> list[Scenario]:
    """All of them, negative controls included."""
    found = [
        Scenario(f"Bernoulli {rate:g}", "Clopper-Pearson", count, delta, bernoulli(rate, count, delta))
        for rate in (0.01, 0.03, 0.05, 0.1)
        for count in (100, 300, 1000)
        for delta in (0.1, 0.05, 0.01)
    ]
    found += [
        Scenario("Bernoulli 0.05", "Clopper-Pearson, lower bound", count, 0.05, bernoulli_lower(0.05, count, 0.05))
        for count in (100, 1000)
    ]
    bounds = {
        "Hoeffding": hoeffding_upper, "empirical Bernstein": empirical_bernstein_upper, "betting": betting_upper,
    }  # fmt: skip
    for name, bound in bounds.items():
        for count in (100, 300):
            for delta in (0.1, 0.05):
                found.append(Scenario("Beta(0.1, 1.9) costs", name, count, delta, beta_costs(bound, count, delta)))
        found.append(Scenario("Bernoulli 0.05", name, 100, 0.05, bernoulli_costs(bound, 0.05, 100, 0.05)))
    for count, kind in ((100, "control"), (1000, "approximate")):  # pyright takes these words for any strings
        found.append(
            Scenario("Beta(0.1, 1.9) costs", "Student", count, 0.1, beta_costs(student_upper, count, 0.1), kind)  # pyright: ignore
        )
    for rate in (0.03, 0.05):
        simulate = bernoulli_costs(student_upper, rate, 100, 0.1)
        found.append(Scenario(f"Bernoulli {rate:g}", "Student", 100, 0.1, simulate, "control"))
    return found + _clustered() + _best_run()


def _clustered() -> list[Scenario]:
    world = f"clustered: {ANSWERS} answers per prompt, P(unsafe) ~ Beta(0.1, 1.9)"
    return [
        Scenario(world, "Clopper-Pearson, one answer per prompt", 200, 0.05, clustered_first(200, 0.05)),
        Scenario(world, "Clopper-Pearson, prompts with any unsafe answer", 200, 0.05, clustered_any(200, 0.05)),
        Scenario(world, "betting, mean per prompt", 200, 0.05, clustered_means(200, 0.05)),
        Scenario(world, "Clopper-Pearson over all answers", 200, 0.05, clustered_pooled(200, 0.05), "control"),
    ]


def _best_run() -> list[Scenario]:
    world = f"the best of {NUM_RUNS} runs, each with rate 0.05"
    seen = f"the best of {NUM_RUNS} in an evaluation on the prompts that certify it, P(unsafe) ~ Beta(0.025, 0.475)"
    return [
        Scenario(world, f"Clopper-Pearson at δ/{NUM_RUNS}", 500, 0.05, best_run(0.05, 500, 0.05, NUM_RUNS)),
        Scenario(world, "Clopper-Pearson at δ", 500, 0.05, best_run(0.05, 500, 0.05, 1), "control"),
        Scenario(seen, f"Clopper-Pearson at δ/{NUM_RUNS}", 500, 0.05, best_seen(500, 0.05, NUM_RUNS)),
        Scenario(seen, "Clopper-Pearson at δ", 500, 0.05, best_seen(500, 0.05, 1), "control"),
    ]


def bernoulli(rate: float, count: int, delta: float) -> Simulate:
    """Independent prompts that violate with probability ``rate``."""
    return lambda rng, replicates: upper(
        per_count(lambda k: clopper_pearson_upper(k, count, 1 - delta), rng.binomial(count, rate, replicates)), rate
    )


def bernoulli_lower(rate: float, count: int, delta: float) -> Simulate:
    """The same from below: what VIOLATED rests on."""
    return lambda rng, replicates: lower(
        per_count(lambda k: clopper_pearson_lower(k, count, 1 - delta), rng.binomial(count, rate, replicates)), rate
    )


def beta_costs(bound: Callable[..., float], count: int, delta: float) -> Simulate:
    """Mean of costs in [0, 1] that are rarely far from 0."""
    return lambda rng, replicates: upper(
        per_sample(lambda value_N: bound(value_N, 1 - delta), rng.beta(*BETA, size=(replicates, count))), BETA_MEAN
    )


def bernoulli_costs(bound: Callable[..., float], rate: float, count: int, delta: float) -> Simulate:
    """A bound on means, given zeros and ones."""
    ones = np.tri(count + 1, count, -1)  # row k: k ones, since the order does not matter

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        count_R = rng.binomial(count, rate, replicates)
        return upper(per_count(lambda k: bound(ones[k], 1 - delta), count_R), rate)

    return simulate


def _unsafe_answers(rng: np.random.Generator, replicates: int, count: int) -> np.ndarray:
    """Unsafe answers of each prompt, [R, prompts]."""
    return rng.binomial(ANSWERS, rng.beta(*BETA, size=(replicates, count)))


def clustered_first(count: int, delta: float) -> Simulate:
    """The unit is the prompt: one answer of each."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        unsafe_R = (rng.random((replicates, count)) < rng.beta(*BETA, size=(replicates, count))).sum(axis=1)
        return upper(per_count(lambda k: clopper_pearson_upper(k, count, 1 - delta), unsafe_R), BETA_MEAN)

    return simulate


def clustered_any(count: int, delta: float) -> Simulate:
    """The unit is the prompt: does any of its answers violate?"""
    a, b = BETA
    none = np.prod([(b + i) / (a + b + i) for i in range(ANSWERS)])  # E[(1 - p)^m] of a beta distribution

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        any_R = (_unsafe_answers(rng, replicates, count) > 0).sum(axis=1)
        return upper(per_count(lambda k: clopper_pearson_upper(k, count, 1 - delta), any_R), float(1 - none))

    return simulate


def clustered_means(count: int, delta: float) -> Simulate:
    """The unit is the prompt: the mean over its answers is one cost in [0, 1]."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        mean_RN = _unsafe_answers(rng, replicates, count) / ANSWERS
        return upper(per_sample(lambda value_N: betting_upper(value_N, 1 - delta), mean_RN), BETA_MEAN)

    return simulate


def clustered_pooled(count: int, delta: float) -> Simulate:
    """The mistake: all answers counted as if they were independent."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        unsafe_R = _unsafe_answers(rng, replicates, count).sum(axis=1)
        return upper(per_count(lambda k: clopper_pearson_upper(k, count * ANSWERS, 1 - delta), unsafe_R), BETA_MEAN)

    return simulate


def best_run(rate: float, count: int, delta: float, parts: int) -> Simulate:
    """The run with the fewest violations is chosen by the numbers that certify it."""
    each = split_confidence(1 - delta, parts)

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        fewest_R = rng.binomial(count, rate, (replicates, NUM_RUNS)).min(axis=1)
        return upper(per_count(lambda k: clopper_pearson_upper(k, count, each), fewest_R), rate)

    return simulate


def best_seen(count: int, delta: float, parts: int) -> Simulate:
    """The run that looks best in an evaluation is certified by other responses to the same prompts."""
    each = split_confidence(1 - delta, parts)

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        found_R = np.empty(replicates, dtype=int)
        for r in range(replicates):
            rate_MN = rng.beta(*STUBBORN, size=(NUM_RUNS, count))
            best_N = rate_MN[(rng.random(rate_MN.shape) < rate_MN).sum(axis=1).argmin()]
            found_R[r] = (rng.random(count) < best_N).sum()
        return upper(per_count(lambda k: clopper_pearson_upper(k, count, each), found_R), BETA_MEAN)

    return simulate
