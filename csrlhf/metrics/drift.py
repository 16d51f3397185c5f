"""Do new dialogues look like those that a model knows? Distances between two samples, each with its noise level.

A distance counts as drift where it is larger than chance makes it (a quantile under "same distribution") and larger
than what anybody would care about (a stated size): with many rows the first alone is always met, with few the second.

Legend of suffixes: N reference rows, M new rows, H features, P permutations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import chi2

NUM_BINS = 10
"""Bins of the stability index: tenths of the reference."""

LEAST_STABILITY = 0.25
"""A stability index above it is called a major shift in credit scoring, where it comes from."""

LEAST_ENERGY = 0.02
"""Share of the distance between two samples; about a shift of 0.3 deviations in every feature."""

SIGNIFICANCE = 0.01
"""Probability of a false alarm of each comparison."""

MAX_ROWS = 512
"""Rows of a sample that the energy distance compares: its cost is the square of them."""

PERMUTATIONS = 499


@dataclass(frozen=True)
class Drift:
    """One comparison.

    Example: ``Drift("response_words", 0.41, 0.25, 300, "stability index")`` has drifted.

    Attributes:
        name: what was compared: ``response_words``, ``prompt_words``, ``score``, ``embedding``.
        value: the distance; 0 for equal samples.
        limit: above it the distance counts as drift.
        count: new rows.
        method: the distance in words.
        p_value: of a permutation test, where there is one; then it must be at most ``SIGNIFICANCE`` as well.
    """

    name: str
    value: float
    limit: float
    count: int
    method: str
    p_value: float | None = None

    @property
    def drifted(self) -> bool:
        """True where the distance is above the limit and no accident."""
        return self.value > self.limit and (self.p_value is None or self.p_value <= SIGNIFICANCE)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"drifted": self.drifted}


def stability_index(reference_N: NDArray[np.float64], new_M: NDArray[np.float64]) -> float:
    """Population stability index ``Σ (p - q) ln(p / q)`` over tenths of the reference, half a row added to each bin.

    ``p`` and ``q`` are the shares of reference and new rows in a bin. It is the sum of the two Kullback-Leibler
    divergences between them.
    """
    reference, new = _counts(reference_N, new_M)
    p, q = reference / reference.sum(), new / new.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def stability_drift(name: str, reference_N: NDArray[np.float64], new_M: NDArray[np.float64]) -> Drift:
    """Compares one number per row.

    The limit is ``LEAST_STABILITY``, or with few rows the index that chance exceeds with probability ``SIGNIFICANCE``:
    under "same distribution" it is about ``(1/N + 1/M) χ²`` with one degree of freedom less than there are bins.
    """
    freedom = len(_counts(reference_N, new_M)[0]) - 1
    noise = float(chi2.ppf(1 - SIGNIFICANCE, freedom)) * (1 / len(reference_N) + 1 / len(new_M)) if freedom else 0.0
    value = stability_index(reference_N, new_M)
    return Drift(name, value, max(LEAST_STABILITY, noise), len(new_M), "population stability index")


def energy_drift(
    name: str, reference_NH: NDArray[np.floating[Any]], new_MH: NDArray[np.floating[Any]], seed: int = 0
) -> Drift:
    """Compares whole vectors by the energy distance, with a permutation test.

    The value is ``(2 A - B - C) / (2 A)``, with ``A`` the mean distance of a reference row and a new one, ``B`` and
    ``C`` those of two different rows of one sample; features are divided by the reference's deviation first. 0 in the
    mean for one distribution, 1 where either sample is a point of its own.

    Args:
        name: of the comparison.
        reference_NH: at least two rows.
        new_MH: at least two rows; of more than ``MAX_ROWS``, that many drawn ones.
        seed: of the draw and of the permutations.
    """
    rng = np.random.default_rng(seed)
    reference, new = (_drawn(rows.astype(np.float64), rng) for rows in (reference_NH, new_MH))
    deviation_H = reference.std(axis=0)
    scale_H = np.where(deviation_H > 1e-8, deviation_H, 1.0)
    both = np.concatenate([reference, new]) / scale_H
    distance = np.asarray(cdist(both, both), dtype=np.float64)
    is_new = np.zeros(len(both), dtype=bool)
    is_new[len(reference) :] = True
    value = float(_energy(distance, is_new[None])[0])
    shuffled = _energy(distance, rng.permuted(np.tile(is_new, (PERMUTATIONS, 1)), axis=1))
    p_value = float((1 + np.sum(shuffled >= value)) / (1 + PERMUTATIONS))
    return Drift(name, value, LEAST_ENERGY, len(new_MH), "energy distance", p_value)


def _energy(distance: NDArray[np.float64], is_new_P: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The normalised distance for each way ``[P, N + M]`` of telling the rows apart."""
    new = is_new_P.astype(np.float64)
    old = 1.0 - new
    num_new, num_old = new.sum(axis=1), old.sum(axis=1)
    to_new = new @ distance
    across = (to_new * old).sum(axis=1) / (num_new * num_old)
    within_new = (to_new * new).sum(axis=1) / (num_new * (num_new - 1))
    within_old = ((old @ distance) * old).sum(axis=1) / (num_old * (num_old - 1))
    return np.divide(2 * across - within_new - within_old, 2 * across, out=np.zeros_like(across), where=across > 0)


def _counts(
    reference_N: NDArray[np.float64], new_M: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inner = np.unique(np.quantile(reference_N, np.linspace(0, 1, NUM_BINS + 1)[1:-1], method="lower"))
    size = len(inner) + 1
    # A value on an edge belongs to the bin above it: of whole numbers each stands in one bin.
    counts = [
        np.bincount(np.searchsorted(inner, values, side="right"), minlength=size).astype(np.float64)
        for values in (reference_N, new_M)
    ]
    return counts[0] + 0.5, counts[1] + 0.5


def _drawn(rows: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return rows if len(rows) <= MAX_ROWS else rows[np.sort(rng.choice(len(rows), MAX_ROWS, replace=False))]
