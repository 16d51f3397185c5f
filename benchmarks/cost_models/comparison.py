"""The labelled rows, the fits that are finished, and what they say: the comparison of cost losses without its program.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost_models.arms import ARMS, training_pairs, without_leaks
from benchmarks.cost_models.fit import fit_and_predict, fold_numbers, prompt_groups
from benchmarks.cost_models.slices import FRAMINGS, LENGTHS, framing, harm_words, length_band, looks_harmful
from benchmarks.cost_models.table import Predictions
from csrlhf.data.encoding import prompt_text
from csrlhf.refusals.words import WordJudge
from csrlhf.stats.classification import auroc, expected_calibration_error
from csrlhf.stats.cost_report import bag_of_words
from csrlhf.stats.intervals import bootstrap_intervals
from csrlhf.types import CostPairRow, LabelledRow

# What is said of each arm: measures of held-out predictions, and their paired differences with intervals.

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


@dataclass(frozen=True)
class Comparison:
    """The data and the finished fits.

    Attributes:
        rows: all labelled rows.
        compared: pairs of the preference file.
        output: where finished fits are kept.
        settings: the recipe that all arms share.
        earlier: a folder of ``benchmarks.cost_recipe``, whose fits of the recipe ``ours`` are fits of the semantic arm.
    """

    rows: list[LabelledRow]
    compared: list[CostPairRow]
    output: Path
    settings: dict[str, Any]
    earlier: Path | None = None

    @cached_property
    def texts(self) -> list[str]:
        """Prompt and answer of each row."""
        return [f"{prompt_text(row.prompt)}\n{row.response}" for row in self.rows]

    @cached_property
    def unsafe_N(self) -> NDArray[np.bool_]:
        """Labels."""
        return np.array([row.unsafe[0] > 0.5 for row in self.rows])

    @cached_property
    def groups_N(self) -> NDArray[np.int64]:
        """Groups of near-duplicate prompts."""
        return prompt_groups([prompt_text(row.prompt) for row in self.rows])

    @cached_property
    def done(self) -> Predictions:
        """The finished fits."""
        return Predictions(self.output, self.unsafe_N, self.groups_N)

    def held_out(self, seed: int, fold: int) -> NDArray[np.bool_]:
        """True on the rows that a fit is judged on."""
        return fold_numbers(self.groups_N, self.unsafe_N, seed) == fold

    def has(self, arm: str, seed: int, fold: int) -> bool:
        """True if the fit was finished, here or by the recipes' benchmark."""
        if self.earlier is not None and arm == "semantic" and not self.done.has(arm, seed, fold, self.settings):
            earlier = replace(self.done, folder=self.earlier)
            if earlier.has("ours", seed, fold, self.settings):
                self.done.add(arm, seed, fold, self.settings, *earlier.load("ours", seed, fold, self.settings))
        return self.done.has(arm, seed, fold, self.settings)

    def fit(self, arm: str, seed: int, fold: int) -> None:
        """Make one fit and keep its predictions."""
        held_out_N = self.held_out(seed, fold)
        train = [self.rows[row] for row in np.flatnonzero(~held_out_N)]
        compared = without_leaks(self.compared, self.rows, held_out_N) if ARMS[arm].compared else []
        pairs = training_pairs(ARMS[arm], train, compared, self.settings["cost"]["epochs"] * len(train), seed)
        judged = np.flatnonzero(held_out_N)
        start = time.perf_counter()
        probability = fit_and_predict(self.settings, train, [self.rows[row] for row in judged], seed, pairs)
        self.done.add(arm, seed, fold, self.settings, judged, probability)
        print(f"{arm} seed {seed} fold {fold}: {time.perf_counter() - start:.0f} s", flush=True)

    def judged(self, arms: list[str], seeds: list[int], folds: list[int]) -> Judged:
        """Predictions of arms and baselines on all folds of the seeds."""
        fits: dict[str, dict[int, list[Any]]] = {
            arm: {seed: [self.done.load(arm, seed, fold, self.settings) for fold in folds] for seed in seeds}
            for arm in arms
        }
        refuses_N = np.array(
            WordJudge().refused([row.prompt for row in self.rows], [row.response for row in self.rows])
        )
        alike = {seed: np.zeros(len(self.rows), dtype=bool) for seed in seeds}
        for seed in seeds:
            for fold in folds:
                held_out_N = self.held_out(seed, fold)
                train, judged = np.flatnonzero(~held_out_N), np.flatnonzero(held_out_N)
                known = [self.texts[row] for row in train]
                asked = [self.texts[row] for row in judged]
                alike[seed][judged] = looks_harmful(asked, harm_words(known, self.unsafe_N[train]))
                words = bag_of_words(known, self.unsafe_N[train].tolist(), asked)
                fits.setdefault("bag_of_words", {}).setdefault(seed, []).append((judged, words))
                regex = np.where(refuses_N[judged], 0.0, 1.0)
                fits.setdefault("refusal_regex", {}).setdefault(seed, []).append((judged, regex))
        return Judged(fits, self.unsafe_N, self.groups_N, alike, self.slices, frozenset({"refusal_regex"}))

    @cached_property
    def slices(self) -> dict[str, NDArray[np.bool_]]:
        """Rows by length of the answer and by framing of the prompt."""
        lengths = np.array([length_band(row.response) for row in self.rows])
        framings = np.array([framing(prompt_text(row.prompt)) for row in self.rows])
        names = [name for name, _ in FRAMINGS]
        found = {name: lengths == name for name, _ in LENGTHS} | {n: framings == n for n in (*names, "direct")}
        return {name: inside_N for name, inside_N in found.items() if inside_N.any()}
