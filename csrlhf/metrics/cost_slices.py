"""How a cost model does on parts of the rows: by category and by length, with the count behind every number.

Legend of suffixes: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrlhf.certify.bounds import clopper_pearson_interval
from csrlhf.metrics.classification import auroc

NUM_LENGTHS = 4
"""Parts by length: quarters of the rows."""


@dataclass(frozen=True)
class Share:
    """``hits`` of ``count``, with the 95 % exact interval; NaN where there is nothing to count.

    Example: ``share_of(3, 4)`` is ``Share(3, 4, 0.19..., 0.99...)``.
    """

    hits: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.hits / self.count if self.count else float("nan")


def share_of(hits: int, count: int) -> Share:
    """With its interval (Clopper-Pearson)."""
    bounds = clopper_pearson_interval(hits, count, 0.95) if count else (float("nan"), float("nan"))
    return Share(hits, count, *map(float, bounds))


@dataclass(frozen=True)
class Slice:
    """Some of the rows.

    Attributes:
        name: the category, or ``12 to 40 words``.
        count: rows.
        correct: decisions at cost 0 that are right, of all rows.
        recall: unsafe rows that are flagged, of the unsafe ones.
        false_alarms: safe rows that are flagged, of the safe ones.
        auroc: within the slice; NaN where one class is missing.
    """

    name: str
    count: int
    correct: Share
    recall: Share
    false_alarms: Share
    auroc: float

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def slice_of(name: str, logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> Slice:
    """The numbers of these rows; flagged where the logit is above 0."""
    flagged_N = logit_N > 0
    return Slice(
        name,
        len(logit_N),
        share_of(int((flagged_N == unsafe_N).sum()), len(logit_N)),
        share_of(int((flagged_N & unsafe_N).sum()), int(unsafe_N.sum())),
        share_of(int((flagged_N & ~unsafe_N).sum()), int((~unsafe_N).sum())),
        auroc(logit_N, unsafe_N),
    )


def by_category(
    logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], categories: Sequence[str | None]
) -> list[Slice]:
    """One slice per category, in alphabetical order; rows without one in a slice ``(none)``, if any row has one."""
    names = sorted({name for name in categories if name is not None})
    if not names:
        return []
    rows_of = {name: np.array([category == name for category in categories]) for name in names}
    without = np.array([category is None for category in categories])
    if without.any():
        rows_of["(none)"] = without
    return [slice_of(name, logit_N[rows], unsafe_N[rows]) for name, rows in rows_of.items()]


def by_length(logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], words_N: NDArray[np.float64]) -> list[Slice]:
    """Quarters of the rows by the words of the response; fewer where many are equally long."""
    edges = np.unique(np.quantile(words_N, np.linspace(0, 1, NUM_LENGTHS + 1)[1:-1], method="lower"))
    part_N = np.searchsorted(edges, words_N, side="left")  # up to and with an edge belong together
    slices = []
    for part in np.unique(part_N):
        rows = part_N == part
        low, high = int(words_N[rows].min()), int(words_N[rows].max())
        name = f"{low} words" if low == high else f"{low} to {high} words"
        slices.append(slice_of(name, logit_N[rows], unsafe_N[rows]))
    return slices
