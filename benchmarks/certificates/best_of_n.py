"""Scenarios of best-of-N: prompts that differ in how often candidates are accepted and in how often they are unsafe.

Legend of suffixes: R replicates, P prompts, N candidates.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.stats import beta

from benchmarks.certificates.world import Draws, Scenario, Simulate, per_count, upper
from csrlhf.stats.best_of_n import RULES, Rule, abstention_upper, emitted_unsafe_upper
from csrlhf.stats.bounds import clopper_pearson_lower


def abstention_truth(num_candidates: int, a: float = 0.5, b: float = 0.5) -> float:
    """E[(1 - p_x)^N] of acceptance probabilities p_x ~ Beta(a, b)."""
    return float(np.prod([(b + i) / (a + b + i) for i in range(num_candidates)]))


ACCEPT_SAFE, ACCEPT_UNSAFE = 0.9, 0.3
HARM = (0.25, 2.25)
"""Best-of-N with harm: a prompt's candidates are unsafe with probability h_x ~ Beta(0.25, 2.25), mean 0.1."""


def emitted_truth(num_candidates: int, rule: str) -> float:
    """P(unsafe emitted), by quadrature over h_x. ``best``: every unsafe answer is paid more than any safe one."""

    def given(h: float) -> float:
        slips, accepted = ACCEPT_UNSAFE * h, ACCEPT_UNSAFE * h + ACCEPT_SAFE * (1 - h)
        if rule == "best":
            return 1 - (1 - slips) ** num_candidates
        return slips / accepted * (1 - (1 - accepted) ** num_candidates)

    # h = u^4 takes the pole at 0 out of the density
    return quad(lambda u: given(u**4) * beta.pdf(u**4, *HARM) * 4 * u**3, 0, 1, limit=200)[0]


def best_of_n_scenarios() -> list[Scenario]:
    """Prompts that differ in how often their candidates are accepted and in how often these are unsafe."""
    world, prompts, delta = "best-of-N, acceptance p_x ~ Beta(0.5, 0.5)", 300, 0.05
    found = [
        Scenario(world, f"abstention counted, N = {n}", prompts, delta, counted(n, prompts, delta)) for n in (2, 4, 8)
    ]
    found += [
        Scenario(
            world, f"plug-in (1 - mean acceptance)^N, N = {n}", prompts, delta, plug_in(n, prompts, delta), "control"
        )
        for n in (2, 4, 8)
    ]
    world = "best-of-N, the reward prefers harm, P(unsafe) ~ Beta(0.25, 2.25)"
    for n in (4, 16):
        for rule in RULES:
            simulate = emitted(n, n, rule, prompts, delta)
            found.append(Scenario(world, f"unsafe emitted, {rule} of {n}", prompts, delta, simulate))
    simulate = emitted(16, 1, "best", prompts, delta)
    found.append(Scenario(world, "unsafe emitted, best of 16, audited at N = 1", prompts, delta, simulate, "control"))
    return found


def counted(num_candidates: int, prompts: int, delta: float) -> Simulate:
    """Prompts none of whose first N candidates is accepted, counted."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        p_RN = rng.beta(0.5, 0.5, (replicates, prompts))
        refused_R = (rng.binomial(num_candidates, p_RN) == 0).sum(axis=1)

        def one(refused: int) -> float:
            accepted_PN = np.ones((prompts, num_candidates), dtype=bool)
            accepted_PN[:refused] = False
            return abstention_upper(accepted_PN, num_candidates, 1 - delta).upper

        return upper(per_count(one, refused_R), abstention_truth(num_candidates))

    return simulate


def plug_in(num_candidates: int, prompts: int, delta: float) -> Simulate:
    """The mistake: a bound on the mean acceptance, raised to the N-th power."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        accepted_R = (rng.random((replicates, prompts)) < rng.beta(0.5, 0.5, (replicates, prompts))).sum(axis=1)
        bound_R = (1 - per_count(lambda k: clopper_pearson_lower(k, prompts, 1 - delta), accepted_R)) ** num_candidates
        return upper(bound_R, abstention_truth(num_candidates))

    return simulate


def emitted(num_candidates: int, audited: int, rule: Rule, prompts: int, delta: float) -> Simulate:
    """Unsafe answers emitted with N = ``audited``, held against the truth at ``num_candidates``."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        truth, bounds = emitted_truth(num_candidates, rule), []
        for _ in range(replicates):
            unsafe_PN = rng.random((prompts, audited)) < rng.beta(*HARM, prompts)[:, None]
            accepted_PN = rng.random((prompts, audited)) < np.where(unsafe_PN, ACCEPT_UNSAFE, ACCEPT_SAFE)
            reward_PN = rng.random((prompts, audited)) + unsafe_PN
            found = emitted_unsafe_upper(accepted_PN, unsafe_PN, audited, rule, 1 - delta, reward_PN)
            bounds.append(found.upper)
        return upper(bounds, truth)

    return simulate
