"""One output of a cost model on labelled rows: everything that the evaluation says of it, computed once.

Calibration is reported in three ways, not to be confused: the head's own probabilities, those after the temperature
that is stored with the model, and those after a temperature refitted to this file's own rows. The last is only ever
judged on rows that it was not fitted on (cross-fitting).

Legend of suffixes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from csrlhf.data.encoding import prompt_text
from csrlhf.stats.classification import (
    ReliabilityBin,
    ThresholdCurve,
    auroc,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    threshold_curve,
)
from csrlhf.stats.drift import words_of
from csrlhf.stats.intervals import share
from csrlhf.stats.thresholds import ChosenThreshold, choose_threshold
from csrlhf.types import LabelledRow

# Parts of the rows: by category and by length, with the count behind every number.


NUM_LENGTHS = 4
"""Parts by length: quarters of the rows."""


@dataclass(frozen=True)
class Share:
    """``hits`` of ``count`` rows, with a 95 % interval; NaN where there is nothing to count.

    Example: ``share_of([True, True, True, False], "abcd")`` is ``Share(3, 4, 0.19..., 0.99...)``.
    """

    hits: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.hits / self.count if self.count else float("nan")


def share_of(happened: Sequence[bool] | NDArray[np.bool_], prompts: Sequence[str]) -> Share:
    """With its interval: Clopper-Pearson's where every row has a prompt of its own, else over prompts (``share``)."""
    interval = share(happened, prompts, 0.95)
    return Share(sum(map(bool, happened)), len(prompts), interval.low, interval.high)


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


def slice_of(name: str, logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], prompt_N: NDArray[np.str_]) -> Slice:
    """The numbers of these rows; flagged where the logit is above 0."""
    flagged_N = logit_N > 0
    return Slice(
        name,
        len(logit_N),
        share_of(flagged_N == unsafe_N, prompt_N.tolist()),
        share_of(flagged_N[unsafe_N], prompt_N[unsafe_N].tolist()),
        share_of(flagged_N[~unsafe_N], prompt_N[~unsafe_N].tolist()),
        auroc(logit_N, unsafe_N),
    )


def by_category(
    logit_N: NDArray[np.float64],
    unsafe_N: NDArray[np.bool_],
    prompt_N: NDArray[np.str_],
    categories: Sequence[str | None],
) -> list[Slice]:
    """One slice per category, in alphabetical order; rows without one in a slice ``(none)``, if any row has one."""
    names = sorted({name for name in categories if name is not None})
    if not names:
        return []
    rows_of = {name: np.array([category == name for category in categories]) for name in names}
    without = np.array([category is None for category in categories])
    if without.any():
        rows_of["(none)"] = without
    return [slice_of(name, logit_N[rows], unsafe_N[rows], prompt_N[rows]) for name, rows in rows_of.items()]


def by_length(
    logit_N: NDArray[np.float64],
    unsafe_N: NDArray[np.bool_],
    prompt_N: NDArray[np.str_],
    words_N: NDArray[np.float64],
) -> list[Slice]:
    """Quarters of the rows by the words of the response; fewer where many are equally long."""
    edges = np.unique(np.quantile(words_N, np.linspace(0, 1, NUM_LENGTHS + 1)[1:-1], method="lower"))
    part_N = np.searchsorted(edges, words_N, side="left")  # up to and with an edge belong together
    slices = []
    for part in np.unique(part_N):
        rows = part_N == part
        low, high = int(words_N[rows].min()), int(words_N[rows].max())
        name = f"{low} words" if low == high else f"{low} to {high} words"
        slices.append(slice_of(name, logit_N[rows], unsafe_N[rows], prompt_N[rows]))
    return slices


# All rows of one output.


NUM_FOLDS = 5
"""Parts of the prompts for cross-fitting."""


@dataclass(frozen=True)
class CostEvaluation:
    """What is known of one output.

    Attributes:
        name: the constraint.
        logit_N: cost logits as a constraint sees them, after the stored temperature.
        unsafe_N: the truth.
        temperature: the stored one; the head's own logits are ``logit_N * temperature``.
        calibration: the numbers of ``calibration_errors``.
        bins: reliability of the head's own probabilities (``uncalibrated``) and of those in use (``stored``).
        categories: slices by category; empty where no row has one.
        lengths: slices by words of the response.
        curve: what every threshold gives.
        choice: the certified threshold, or why there is none.
    """

    name: str
    logit_N: NDArray[np.float64]
    unsafe_N: NDArray[np.bool_]
    temperature: float
    calibration: Mapping[str, float]
    bins: Mapping[str, list[ReliabilityBin]]
    categories: list[Slice]
    lengths: list[Slice]
    curve: ThresholdCurve
    choice: ChosenThreshold

    def numbers(self) -> dict[str, float]:
        """Flat metrics beside those of ``cost_report``; keys as in docs/reference/metrics.md, without the split."""
        choice = self.choice
        chosen = {
            "tau": np.nan if choice.tau is None else choice.tau,
            "tau_certified": float(choice.tau is not None),
            "tau_missed": float(choice.missed) if choice.tau is not None else np.nan,
            "tau_missed_upper": choice.upper,
            "tau_safe_flagged": choice.safe_flagged_rate,
            "unsafe_prompts": float(choice.unsafe),
            "unsafe_prompts_least": float(choice.least_unsafe),
            "unsafe_prompts_needed_at_zero": np.nan if choice.needed_at_zero is None else float(choice.needed_at_zero),
        }
        return {**self.calibration, **{key: float(value) for key, value in chosen.items()}}

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": len(self.logit_N),
            "unsafe": int(self.unsafe_N.sum()),
            "temperature": self.temperature,
            "calibration": dict(self.calibration),
            "categories": [part.record() for part in self.categories],
            "lengths": [part.record() for part in self.lengths],
            "threshold": self.choice.record(),
            "curve": {
                "tau": self.curve.tau_M.tolist(),
                "recall": self.curve.recall_M.tolist(),
                "false_positive_rate": self.curve.false_positive_rate_M.tolist(),
                "precision": self.curve.precision_M.tolist(),
            },
        }


def evaluate_output(
    name: str,
    logit_N: NDArray[np.float64],
    temperature: float,
    rows: Sequence[LabelledRow],
    k: int,
    max_false_negative_rate: float,
    delta: float,
) -> CostEvaluation:
    """All of it.

    Args:
        name: the constraint.
        logit_N: calibrated logits of the rows.
        temperature: what they have been divided by.
        rows: the labelled rows.
        k: the column of ``LabelledRow.unsafe``.
        max_false_negative_rate: see ``choose_threshold``, like ``delta``.
        delta: of this constraint.
    """
    unsafe_N = np.array([row.unsafe[k] > 0.5 for row in rows])
    prompts = [prompt_text(row.prompt) for row in rows]
    words_N = words_of(prompts, [row.response for row in rows])[1]
    own_N, prompt_N = logit_N * temperature, np.array(prompts, dtype=np.str_)
    return CostEvaluation(
        name=name,
        logit_N=logit_N,
        unsafe_N=unsafe_N,
        temperature=temperature,
        calibration=calibration_errors(own_N, temperature, unsafe_N, prompts),
        bins={
            "uncalibrated": reliability_bins(expit(own_N), unsafe_N, prompts),
            "stored": reliability_bins(expit(logit_N), unsafe_N, prompts),
        },
        categories=by_category(logit_N, unsafe_N, prompt_N, [_category(row) for row in rows]),
        lengths=by_length(logit_N, unsafe_N, prompt_N, words_N),
        curve=threshold_curve(logit_N, unsafe_N),
        choice=choose_threshold(logit_N, unsafe_N, prompts, max_false_negative_rate, delta),
    )


def calibration_errors(
    own_N: NDArray[np.float64], temperature: float, unsafe_N: NDArray[np.bool_], prompts: Sequence[str]
) -> dict[str, float]:
    """Expected calibration errors, and the temperatures behind them.

    Args:
        own_N: the head's own logits.
        temperature: the one stored with the model.
        unsafe_N: the truth.
        prompts: of each row; rows of one prompt are fitted on or judged together.

    Returns:
        ``temperature``; ``ece_uncalibrated`` of ``σ(f)``; ``ece_calibrated`` of ``σ(f / temperature)``; and
        ``temperature_refitted``, fitted on all rows for the next model, with ``ece_refitted``: each row judged by the
        temperature of the other four fifths of the prompts, and never by one that has seen it. Both are NaN with one
        class, or fewer than five prompts.
    """
    errors = {
        "temperature": temperature,
        "ece_uncalibrated": expected_calibration_error(expit(own_N), unsafe_N),
        "ece_calibrated": expected_calibration_error(expit(own_N / temperature), unsafe_N),
        "temperature_refitted": float("nan"),
        "ece_refitted": float("nan"),
    }
    unique = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    if len(unique) < NUM_FOLDS or unsafe_N.all() or not unsafe_N.any():
        return errors
    order = np.random.default_rng(0).permutation(len(unique))
    fold_N = np.array([order[unique[prompt]] % NUM_FOLDS for prompt in prompts])
    fitted_N = np.empty_like(own_N)
    for fold in range(NUM_FOLDS):
        inside_N = fold_N == fold
        fitted_N[inside_N] = own_N[inside_N] / fit_temperature(own_N[~inside_N], unsafe_N[~inside_N])
    errors["temperature_refitted"] = fit_temperature(own_N, unsafe_N)
    errors["ece_refitted"] = expected_calibration_error(expit(fitted_N), unsafe_N)
    return errors


def _category(row: LabelledRow) -> str | None:
    category = row.meta.get("category")
    return None if category is None else str(category)
