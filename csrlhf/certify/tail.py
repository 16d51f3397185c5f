"""The late part of a run's history that no longer drifts: what estimates of λ* are read from.

A column of ``history.csv`` (``penalty/multiplier``, ``penalty/weight``, ``constraint/<name>/cost``) begins with the way
there. Its last third is taken, as everywhere in this project, and less where that still moves one way.

Legend of suffixes: T iterations, B batches of neighbouring iterations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.certify.bounds import student_quantile
from csrlhf.certify.checks import finite_array
from csrlhf.errors import UserError

SHARES = (1 / 3, 1 / 4, 1 / 6)
"""Tails that are tried, longest first."""

NUM_BATCHES = 6
"""Means over batches are nearly independent where single iterations are not."""

DRIFT_CONFIDENCE = 0.975
"""A slope over the batches that is this unlikely in either direction counts as a drift."""


@dataclass(frozen=True)
class Tail:
    """The part that was read.

    Attributes:
        start: its first iteration, from 0.
        values: the iterations from there on.
        mean: over them.
        stderr: of the mean, from batch means, so that it holds for neighbours that go together.
        count: how many independent iterations would give this standard error; at most as many as there are.
        drift: change from the first to the last batch along the fitted line.
        drifting: the drift is more than the scatter of the batches explains: even the shortest tail still moves.
    """

    start: int
    values: tuple[float, ...]
    mean: float
    stderr: float
    count: int
    drift: float
    drifting: bool


def stationary_tail(values: ArrayLike) -> Tail:
    """The longest of the last third, quarter and sixth that does not drift; the sixth, marked, where all do.

    Source: batch means, e.g. Geyer (1992), Statistical Science 7; the drift is a t-test on the slope over them.

    Raises:
        UserError: fewer than 36 iterations (the sixth has no batches then), or one that is not finite.
    """
    value_T = finite_array("values", values)
    least = round(NUM_BATCHES / min(SHARES))
    if len(value_T) < least:
        raise UserError(f"values: {len(value_T)} iterations are too few to tell a drift from noise; {least} are needed")
    tails = [_tail(value_T, len(value_T) - math.floor(len(value_T) * share)) for share in SHARES]
    return next((tail for tail in tails if not tail.drifting), tails[-1])


def _tail(value_T: np.ndarray, start: int) -> Tail:
    late_T = value_T[start:]
    mean_B = np.array([part.mean() for part in np.array_split(late_T, NUM_BATCHES)])
    stderr = float(mean_B.std(ddof=1)) / math.sqrt(NUM_BATCHES)
    place_B = np.arange(NUM_BATCHES) - (NUM_BATCHES - 1) / 2
    slope = float(place_B @ mean_B / (place_B @ place_B))
    residual_B = mean_B - mean_B.mean() - slope * place_B
    slope_error = math.sqrt(float(residual_B @ residual_B) / (NUM_BATCHES - 2) / float(place_B @ place_B))
    rounding = 1e-9 * max(1e-300, float(np.abs(late_T).max()))
    limit = max(rounding, student_quantile(DRIFT_CONFIDENCE, NUM_BATCHES - 2) * slope_error)
    spread = float(late_T.var())
    count = len(late_T) if stderr <= rounding else min(len(late_T), max(1, math.floor(spread / stderr**2)))
    drift = slope * (NUM_BATCHES - 1)
    return Tail(start, tuple(late_T.tolist()), float(late_T.mean()), stderr, count, drift, abs(slope) > limit)
