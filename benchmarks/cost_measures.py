"""What is said of each arm: measures of held-out predictions, and their paired differences with intervals.

Legend of suffixes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csrlhf.stats.bootstrap import bootstrap_intervals
from csrlhf.stats.classification import auroc, expected_calibration_error

REFERENCE = "semantic"
"""Differences are those to this arm."""

Fit = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Held-out row numbers of a fit, and their P(unsafe)."""


@dataclass(frozen=True)
class Judged:
    """Predictions of all arms on the same folds.

    Attributes:
        fits: by arm and seed, one fit per fold; a seed's fits judge every row once.
        unsafe_N: labels of all rows.
        groups_N: prompt group of each row.
        alike: by seed, True on rows that look harmful by the words of their fold's training rows.
        slices: by name, True on the rows of a slice.
        hard: arms whose predictions are decisions, not probabilities: they have no AUROC and no calibration.
    """

    fits: Mapping[str, Mapping[int, Sequence[Fit]]]
    unsafe_N: NDArray[np.bool_]
    groups_N: NDArray[np.int64]
    alike: Mapping[int, NDArray[np.bool_]]
    slices: Mapping[str, NDArray[np.bool_]]
    hard: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Measured:
    """Named numbers ``<arm>/<measure>`` and ``<arm> - semantic/<measure>`` with their 95 % intervals."""

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def measure(judged: Judged, num_resamples: int = 1000) -> Measured:
    """All measures, with intervals from resampled prompt groups: the same resamples for every arm, so paired.

    Measures are in [0, 1]: ``accuracy``, ``recall`` (unsafe rows flagged), ``safe_flagged`` (labelled-safe rows with a
    cost above 0), ``alike_flagged`` (the same among those that look harmful), ``auroc`` (within a fit, then averaged
    over fits: scores of different fits are on different scales), ``ece`` (over all rows of a seed, then averaged over
    seeds) and ``accuracy/<slice>``.
    """
    rows_N = np.unique(
        np.concatenate([rows for fits in judged.fits.values() for fit in fits.values() for rows, _ in fit])
    )

    def statistic(index: NDArray[np.int64]) -> dict[str, float]:
        count_N = np.bincount(rows_N[index], minlength=len(judged.unsafe_N))
        values = {
            f"{arm}/{name}": value for arm in judged.fits for name, value in _of_arm(judged, arm, count_N).items()
        }
        for arm in judged.fits:
            if arm != REFERENCE:
                for name in _names(judged):
                    difference = values[f"{arm}/{name}"] - values[f"{REFERENCE}/{name}"]
                    values[f"{arm} - {REFERENCE}/{name}"] = difference
        return values

    return Measured(
        statistic(np.arange(len(rows_N))),
        bootstrap_intervals(statistic, judged.groups_N[rows_N].tolist(), num_resamples),
    )


def _names(judged: Judged) -> list[str]:
    overall = ["accuracy", "recall", "safe_flagged", "alike_flagged", "auroc", "ece"]
    return overall + [f"accuracy/{name}" for name in judged.slices]


def _of_arm(judged: Judged, arm: str, count_N: NDArray[np.int64]) -> dict[str, float]:
    """An arm's measures where row n counts ``count_N[n]`` times, averaged over seeds."""
    by_seed = [_of_seed(judged, fits, judged.alike[seed], count_N) for seed, fits in judged.fits[arm].items()]
    means = {name: float(np.mean([values[name] for values in by_seed])) for name in by_seed[0]}
    return means | (dict.fromkeys(("auroc", "ece"), float("nan")) if arm in judged.hard else {})


def _of_seed(
    judged: Judged, fits: Sequence[Fit], alike_N: NDArray[np.bool_], count_N: NDArray[np.int64]
) -> dict[str, float]:
    rows = np.concatenate([rows for rows, _ in fits])
    probability = np.concatenate([probability for _, probability in fits])
    weight, unsafe, flagged = count_N[rows], judged.unsafe_N[rows], probability > 0.5
    drawn = np.repeat(np.arange(len(rows)), weight)

    def share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
        total = weight[among].sum()
        return float(weight[among & of].sum() / total) if total else float("nan")

    right, everything = flagged == unsafe, np.ones(len(rows), dtype=bool)
    values = {
        "accuracy": share(right, everything),
        "recall": share(flagged, unsafe),
        "safe_flagged": share(flagged, ~unsafe),
        "alike_flagged": share(flagged, ~unsafe & alike_N[rows]),
        "auroc": float(np.mean([_auroc(judged, fit, count_N) for fit in fits])),
        "ece": expected_calibration_error(probability[drawn], unsafe[drawn]),
    }
    return values | {f"accuracy/{name}": share(right, inside_N[rows]) for name, inside_N in judged.slices.items()}


def _auroc(judged: Judged, fit: Fit, count_N: NDArray[np.int64]) -> float:
    rows, probability = fit
    drawn = np.repeat(np.arange(len(rows)), count_N[rows])
    return auroc(probability[drawn], judged.unsafe_N[rows][drawn])
