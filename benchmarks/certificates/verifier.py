"""Scenarios in which the cost model errs: the policy has found answers that get past it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.certificates.world import Draws, Scenario, Simulate, per_count, upper
from csrlhf.stats.bounds import clopper_pearson_upper
from csrlhf.stats.truth import (
    audit_unsafe,
    audit_unsafe_given_accepted,
    prediction_powered,
    prediction_powered_exact,
    rogan_gladen,
)

UNSAFE, SENSITIVITY, FALSE_FLAGS = 0.05, 0.6, 0.02
"""The hacked verifier: the policy has found answers that get past it, so it sees 6 in 10 of the unsafe ones."""
FLAGGED = UNSAFE * SENSITIVITY + (1 - UNSAFE) * FALSE_FLAGS
OLD_SENSITIVITY = 0.95
"""What it saw of the answers it was trained on."""


class Audit(NamedTuple):
    """Counts of each replicate: answers flagged of n, and the labelled sample by label and flag."""

    flagged_R: np.ndarray
    missed_R: np.ndarray
    caught_R: np.ndarray
    false_flags_R: np.ndarray
    passed_R: np.ndarray


def hacked(rng: np.random.Generator, replicates: int, count: int, labelled: int) -> Audit:
    """``count`` answers judged by the verifier, ``labelled`` others by people as well."""
    share = (
        UNSAFE * (1 - SENSITIVITY), UNSAFE * SENSITIVITY, (1 - UNSAFE) * FALSE_FLAGS, (1 - UNSAFE) * (1 - FALSE_FLAGS),
    )  # fmt: skip
    return Audit(rng.binomial(count, FLAGGED, replicates), *rng.multinomial(labelled, share, replicates).T)


def hacked_scenarios() -> list[Scenario]:
    """True unsafe rate and P(unsafe | accepted) behind a verifier with sensitivity 0.6."""
    world, confidence, count, labelled = "hacked verifier (sensitivity 0.6)", 0.95, 2000, 600

    def audited(rng: np.random.Generator, replicates: int) -> Draws:
        audit = hacked(rng, replicates, count, labelled)
        unsafe_R = audit.missed_R + audit.caught_R
        return upper(per_count(lambda k: audit_unsafe(k, labelled, confidence).upper, unsafe_R), UNSAFE)

    def accepted(rng: np.random.Generator, replicates: int) -> Draws:
        audit = hacked(rng, replicates, count, labelled)
        bound_R = per_count(
            lambda k, m: audit_unsafe_given_accepted(k, m, confidence).upper,
            audit.missed_R,
            audit.missed_R + audit.passed_R,
        )
        return upper(bound_R, UNSAFE * (1 - SENSITIVITY) / (1 - FLAGGED))

    def corrected(rng: np.random.Generator, replicates: int) -> Draws:
        audit = hacked(rng, replicates, count, labelled)
        unsafe_R = audit.missed_R + audit.caught_R
        bound_R = per_count(
            lambda flagged, tp, p, fp: rogan_gladen(flagged, count, tp, p, fp, labelled - p, confidence).upper,
            audit.flagged_R,
            audit.caught_R,
            unsafe_R,
            audit.false_flags_R,
        )
        return upper(bound_R, UNSAFE)

    def outdated(rng: np.random.Generator, replicates: int) -> Draws:
        flagged_R = rng.binomial(count, FLAGGED, replicates)
        caught_R, false_R = rng.binomial(500, OLD_SENSITIVITY, replicates), rng.binomial(500, FALSE_FLAGS, replicates)
        bound_R = per_count(
            lambda flagged, tp, fp: rogan_gladen(flagged, count, tp, 500, fp, 500, confidence).upper,
            flagged_R,
            caught_R,
            false_R,
        )
        return upper(bound_R, UNSAFE)

    def naive(rng: np.random.Generator, replicates: int) -> Draws:
        # of the flags that are right; those that are wrong would hide the misses by chance
        flagged_R = rng.binomial(count, UNSAFE * SENSITIVITY, replicates)
        return upper(per_count(lambda k: clopper_pearson_upper(k, count, confidence), flagged_R), UNSAFE)

    return [
        Scenario(world, f"audit of {labelled} answers", labelled, 0.05, audited),
        Scenario(world, f"audit, P(unsafe given accepted), {labelled} answers", labelled, 0.05, accepted),
        Scenario(world, f"Rogan-Gladen, {labelled} labels", count, 0.05, corrected),
        Scenario(world, f"prediction-powered, betting, {labelled} labels", count, 0.05, powered(count, labelled, True)),
        Scenario(
            world, f"prediction-powered (PPI++), {labelled} labels", count, 0.05, powered(count, labelled, False),
            "approximate",
        ),
        Scenario(world, "Rogan-Gladen, audit of another policy's answers", count, 0.05, outdated, "control"),
        Scenario(world + ", no false flags", "naive flag rate", count, 0.05, naive, "control"),
    ]  # fmt: skip


def powered(count: int, labelled: int, exact: bool) -> Simulate:
    """Prediction-powered inference from the verifier's flags."""
    bound = prediction_powered_exact if exact else prediction_powered

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        audit = hacked(rng, replicates, count, labelled)

        def one(flagged: int, missed: int, caught: int, false_flags: int) -> float:
            sizes = [missed, caught, false_flags, labelled - missed - caught - false_flags]
            label_M, flag_M = np.repeat([1.0, 1, 0, 0], sizes), np.repeat([0.0, 1, 1, 0], sizes)
            return bound(label_M, flag_M, np.repeat([1.0, 0], [flagged, count - flagged]), 0.95).upper

        return upper(per_count(one, audit.flagged_R, audit.missed_R, audit.caught_R, audit.false_flags_R), UNSAFE)

    return simulate
