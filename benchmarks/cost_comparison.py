"""The labelled rows, the fits that are finished, and what they say: the comparison of cost losses without its program.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost_arms import ARMS, training_pairs, without_leaks
from benchmarks.cost_fit import fit_and_predict
from benchmarks.cost_measures import Judged
from benchmarks.cost_slices import FRAMINGS, LENGTHS, framing, harm_words, length_band, looks_harmful
from benchmarks.cost_table import Predictions
from benchmarks.folds import fold_numbers, prompt_groups
from csrlhf.data.encoding import prompt_text
from csrlhf.stats.cost_report import bag_of_words
from csrlhf.training.ppo.validation import REFUSAL
from csrlhf.types import CostPairRow, LabelledRow


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
        refuses_N = np.array([bool(REFUSAL.search(row.response)) for row in self.rows])
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
