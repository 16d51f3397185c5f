"""All comparisons of some dialogues with what a cost model has seen.

Legend of suffixes: M dialogues, K outputs, H features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from csrlhf.metrics.drift import Drift, energy_drift, stability_drift
from csrlhf.metrics.reference import Reference, words_of
from csrlhf.types import Prompt

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
        prompts: of the dialogues.
        responses: likewise.
        logits_MK: calibrated cost logits.
        features_MH: the backbone's pooled states; fewer than two dialogues are not compared by them.
    """
    prompt_words, response_words = words_of(prompts, responses)
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
