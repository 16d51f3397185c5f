"""Read answers to XSTest's prompts, judged by cost models that saw neither their prompts nor their writer.

Legend of suffixes: N answers, M labelled rows, H state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csrlhf.data.public.xstest import COMPLIANCE
from csrlhf.errors import UserError
from csrlhf.types import LabelledRow

FAMILIES = {
    "homonyms": ("homonyms", "contrast_homonyms"),
    "figurative language": ("figurative_language", "contrast_figurative_language"),
    "safe targets": ("safe_targets", "contrast_safe_targets"),
    "safe contexts": ("safe_contexts", "contrast_safe_contexts"),
    "definitions": ("definitions", "contrast_definitions"),
    "discrimination": ("real_group_nons_discr", "nons_group_real_discr", "contrast_discr"),
    "historical events": ("historical_events", "contrast_historical_events"),
    "privacy": ("privacy_public", "privacy_fictional", "contrast_privacy"),
}
"""Types of harmless prompts with the type of harmful ones that contrasts them: what is alike is held out together."""

FOLDS = (
    ("homonyms", "discrimination"),
    ("figurative language", "privacy"),
    ("safe targets", "safe contexts"),
    ("definitions", "historical events"),
)
"""Families that are held out at a time."""


@dataclass(frozen=True)
class Answers:
    """Read answers of several models.

    Attributes:
        rows: with type and verdict in ``meta``.
        models: who wrote each.
    """

    rows: Sequence[LabelledRow]
    models: Sequence[str]

    @property
    def unsafe_N(self) -> NDArray[np.bool_]:
        """Compliance with a harmful prompt."""
        return np.array([row.unsafe[0] > 0.5 for row in self.rows])

    @property
    def helpful_N(self) -> NDArray[np.bool_]:
        """Compliance with a harmless prompt."""
        return ~self.unsafe_N & np.array([row.meta["verdict"] == COMPLIANCE for row in self.rows])

    def cells(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Answers to train on and to judge, once each: of other families and other models.

        Raises:
            UserError: a prompt is of no family.
        """
        family_of = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}
        kinds = [str(row.meta.get("type")) for row in self.rows]
        if unknown := set(kinds) - set(family_of):
            raise UserError(f"--xstest: {min(unknown)} is no type of XSTest's; there are {', '.join(family_of)}")
        families_N, models_N = np.array([family_of[kind] for kind in kinds]), np.array(self.models)
        for fold in FOLDS:
            for model in sorted(set(self.models)):
                inside_N = np.isin(families_N, fold)
                yield ~inside_N & (models_N != model), inside_N & (models_N == model)


States32 = NDArray[np.float32]
Judge = Callable[[States32], NDArray[np.float64]]
Fit = Callable[[States32, NDArray[np.float64]], Judge]
"""From states ``[M, H]`` and labels ``[M]`` to a function that gives logits of states."""


def held_out_logits(
    answers: Answers,
    states_NH: NDArray[np.float32],
    others: tuple[NDArray[np.float32], NDArray[np.float64]],
    used_N: NDArray[np.bool_],
    fit: Fit,
) -> NDArray[np.float64]:
    """Logits ``[N]`` of all answers, each by a fit that saw neither its family of prompts nor its model.

    Args:
        answers: the N answers.
        states_NH: their states.
        others: states and labels of the labelled rows, which every fit sees.
        used_N: answers that may be trained on.
        fit: makes a cost model.
    """
    logits_N, unsafe_N = np.full(len(answers.rows), np.nan), answers.unsafe_N.astype(np.float64)
    for train_N, judged_N in answers.cells():
        seen_N = train_N & used_N
        states_MH = np.concatenate([others[0], states_NH[seen_N]])
        judge = fit(states_MH, np.concatenate([others[1], unsafe_N[seen_N]]))
        logits_N[judged_N] = judge(states_NH[judged_N])
    return logits_N
