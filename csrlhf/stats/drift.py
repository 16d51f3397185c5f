"""Do new dialogues look like those that a model knows? Distances between two samples, each with its noise level.

A distance counts as drift where it is larger than chance makes it (a quantile under "same distribution") and larger
than what anybody would care about (a stated size): with many rows the first alone is always met, with few the second.

Both noise levels are those of independent rows. Responses to one prompt are alike, and a prompt that is counted k times
looks k times as sure, so each prompt has one row on either side.

Legend of suffixes: N reference rows, M new rows, H features, P permutations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.types import Prompt

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
        count: new rows, of a prompt each.
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


# What a cost model has seen: the file ``reference.safetensors`` in its folder, by which drift is noticed.
#
# Lengths are those of the training dialogues. Scores and features are those of the validation dialogues: a model is
# surer of the rows that it was trained on than of any others, so that by those every new row would look strange. The
# file holds numbers and no text.

FILE = "reference.safetensors"
MAX_LENGTHS = 10_000
"""Training rows whose lengths are kept, evenly spread."""

MAX_FEATURES = 512
"""Validation rows whose scores and features are kept, likewise."""


@dataclass(frozen=True)
class Reference:
    """The distribution that a cost model was made on.

    Attributes:
        outputs: names of the K scores.
        prompt_words_N: words of the training prompts.
        response_words_N: words of the training responses.
        logits_MK: cost logits of validation dialogues, after calibration.
        features_MH: the backbone's pooled states of the same dialogues.
    """

    outputs: tuple[str, ...]
    prompt_words_N: NDArray[np.float64]
    response_words_N: NDArray[np.float64]
    logits_MK: NDArray[np.float64]
    features_MH: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write the file."""
        arrays = {
            "prompt_words": self.prompt_words_N,
            "response_words": self.response_words_N,
            "logits": self.logits_MK,
            "features": self.features_MH,
        }
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, folder / FILE, metadata={"outputs": ",".join(self.outputs)})

    @classmethod
    def read(cls, folder: str | Path) -> Reference | None:
        """What ``save`` wrote; None where the folder has no such file.

        Raises:
            UserError: the file is broken.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                outputs = tuple(file.metadata()["outputs"].split(","))
                return cls(
                    outputs=outputs,
                    prompt_words_N=file.get_tensor("prompt_words"),
                    response_words_N=file.get_tensor("response_words"),
                    logits_MK=file.get_tensor("logits"),
                    features_MH=file.get_tensor("features"),
                )
        except (SafetensorError, KeyError, TypeError) as error:
            raise UserError(f"{path}: broken or cut short ({error}); make the cost model again: stage=cost") from error


def words_of(prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of words of each prompt and of each response."""
    return (
        np.array([len(prompt_text(prompt).split()) for prompt in prompts], dtype=np.float64),
        np.array([len(response.split()) for response in responses], dtype=np.float64),
    )


def one_of_each(prompts: Sequence[Prompt], responses: Sequence[str]) -> NDArray[np.int64]:
    """The numbers of one row of each prompt, in order; which of its responses, their texts decide, not their place."""
    rows: dict[str, tuple[bytes, int]] = {}
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        text = prompt_text(prompt)
        mark = hashlib.sha256(f"{text}\n{response}".encode()).digest()
        rows[text] = min(rows.get(text, (mark, row)), (mark, row))
    return np.array(sorted(row for _, row in rows.values()), dtype=np.int64)


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of the row numbers 0 to ``count - 1``, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


# All comparisons of some dialogues with what a cost model has seen.

WORDS = {
    "prompt_words": "length of the prompts",
    "response_words": "length of the responses",
    "score": "cost logits",
    "embedding": "texts (features of the cost model)",
}


def drift_of(
    reference: Reference,
    outputs: Sequence[str],
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    logits_MK: NDArray[np.float64],
    features_MH: NDArray[np.float32],
) -> list[Drift]:
    """Lengths, scores and features against the reference.

    Args:
        reference: of the cost model that gave logits and features.
        outputs: names of the logits' columns; all of them outputs of the model.
        prompts: of the dialogues. Of several with one prompt, one is compared.
        responses: likewise.
        logits_MK: calibrated cost logits.
        features_MH: the backbone's pooled states; fewer than two dialogues are not compared by them.
    """
    rows = one_of_each(prompts, responses).tolist()
    prompt_words, response_words = words_of([prompts[row] for row in rows], [str(responses[row]) for row in rows])
    logits_MK, features_MH = logits_MK[rows], features_MH[rows]
    found = [
        stability_drift("prompt_words", reference.prompt_words_N, prompt_words),
        stability_drift("response_words", reference.response_words_N, response_words),
    ]
    for k, name in enumerate(outputs):
        known = reference.logits_MK[:, reference.outputs.index(name)]
        found.append(stability_drift("score" if len(outputs) == 1 else f"score/{name}", known, logits_MK[:, k]))
    if min(len(features_MH), len(reference.features_MH)) > 1:
        found.append(energy_drift("embedding", reference.features_MH, features_MH))
    return found


def warning_of(name: str, found: Sequence[Drift]) -> str | None:
    """One line about what has drifted; None where nothing has."""
    drifted = [
        f"{words(drift)} ({drift.method} {drift.value:.2f}, limit {drift.limit:.2f})"
        for drift in found
        if drift.drifted
    ]
    if not drifted:
        return None
    return (
        f"{name}: unlike what the cost model was made on in {', '.join(drifted)}; what it says of them was not "
        "measured by its test, label some of them"
    )


def words(drift: Drift) -> str:
    """What was compared, for people: ``cost logits of harm``."""
    kind, _, constraint = drift.name.partition("/")
    return WORDS[kind] + (f" of {constraint}" if constraint else "")


def drift_numbers(found: Mapping[str, Sequence[Drift]]) -> dict[str, float]:
    """``drift/<set>/<what>``, its limit is in the record; ``drift/<set>/warnings`` counts what has drifted."""
    numbers: dict[str, float] = {}
    for name, drifts in found.items():
        numbers |= {f"drift/{name}/{drift.name}": drift.value for drift in drifts}
        numbers |= {f"drift/{name}/{d.name}_p_value": d.p_value for d in drifts if d.p_value is not None}
        numbers[f"drift/{name}/warnings"] = float(sum(drift.drifted for drift in drifts))
    return numbers
