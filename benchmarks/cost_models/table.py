"""Held-out predictions on disk, and the table of them with the paired gain over the first recipe.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrlhf.stats.classification import auroc
from csrlhf.stats.intervals import bootstrap_intervals

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Predictions:
    """One file per fit, named by recipe, settings, seed and fold, so that changed settings are new fits.

    Attributes:
        folder: where the files lie.
        unsafe_N: labels of all rows.
        groups_N: prompt group of each row.
    """

    folder: Path
    unsafe_N: NDArray[np.bool_]
    groups_N: NDArray[np.int64]

    def path(self, name: str, seed: int, fold: int, settings: Settings) -> Path:
        """The file of one fit."""
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        return self.folder / f"{name}-{digest}-seed{seed}-fold{fold}.npz"

    def has(self, name: str, seed: int, fold: int, settings: Settings) -> bool:
        """True if the fit was finished."""
        return self.path(name, seed, fold, settings).is_file()

    def add(
        self,
        name: str,
        seed: int,
        fold: int,
        settings: Settings,
        rows: NDArray[np.int64],
        probability: NDArray[np.float64],
    ) -> None:
        """Write a fit's held-out predictions, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(name, seed, fold, settings)
        unfinished = path.with_suffix(".tmp.npz")
        np.savez(unfinished, rows=rows, probability=probability)
        unfinished.rename(path)

    def load(
        self, name: str, seed: int, fold: int, settings: Settings
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Row numbers and P(unsafe) of a finished fit."""
        with np.load(self.path(name, seed, fold, settings)) as stored:
            return stored["rows"], stored["probability"]


def table(done: Predictions, recipes: Mapping[str, Settings], seeds: Sequence[int], folds: Sequence[int]) -> str:
    """Mean accuracy and AUROC over fits, and each recipe's paired AUROC gain over the first one.

    AUROC is taken within a fit and then averaged: scores of different fits are on different scales. A resample
    draws prompt groups, the same for every fit and recipe.
    """
    fits = [(seed, fold) for seed in seeds for fold in folds]
    stored = {
        name: [done.load(name, seed, fold, settings) for seed, fold in fits] for name, settings in recipes.items()
    }
    first = next(iter(recipes))

    def statistic(index: NDArray[np.int64]) -> dict[str, float]:
        count_N = np.bincount(index, minlength=len(done.unsafe_N))
        values: dict[str, float] = {}
        for name, predictions in stored.items():
            drawn = [(np.repeat(rows, count_N[rows]), np.repeat(p, count_N[rows])) for rows, p in predictions]
            values[f"{name}/auroc"] = float(np.mean([auroc(p, done.unsafe_N[rows]) for rows, p in drawn]))
            values[f"{name}/accuracy"] = float(np.mean([((p > 0.5) == done.unsafe_N[r]).mean() for r, p in drawn]))
        for metric in ("auroc", "accuracy"):
            for name in stored:
                values[f"{name}/{metric} gain"] = values[f"{name}/{metric}"] - values[f"{first}/{metric}"]
        return values

    judged = np.unique(np.concatenate([rows for rows, _ in stored[first]]))
    values = statistic(judged)
    groups = done.groups_N[judged].tolist()
    intervals = bootstrap_intervals(lambda index: statistic(judged[index]), groups)
    lines = [
        "| recipe | fits | accuracy | AUROC | accuracy gain | AUROC gain (95 % interval) |",
        "|---|---|---|---|---|---|",
    ]
    for name in recipes:
        low, high = intervals[f"{name}/auroc gain"]
        gain = f"{values[f'{name}/auroc gain']:+.4f} ({low:+.4f}, {high:+.4f})" if name != first else "-"
        accuracy_gain = f"{values[f'{name}/accuracy gain']:+.4f}" if name != first else "-"
        lines.append(
            f"| {name} | {len(fits)} | {values[f'{name}/accuracy']:.4f} | {values[f'{name}/auroc']:.4f} "
            f"| {accuracy_gain} | {gain} |"
        )
    return "\n".join(lines)
