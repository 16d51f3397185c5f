"""The sides of the comparison of cost losses: what each learns from, at equal compute.

Compute is counted in dialogues that go forward and backward through the model: ``epochs`` times the number of labelled
training rows for every arm. An arm with pairs gets half as many pairs, whatever there is to make pairs of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost_models.fit import prompt_groups
from csrlhf.data.encoding import prompt_text
from csrlhf.data.pairs import pair_by_label, pairs_by_label
from csrlhf.types import CostPairRow, LabelledRow


@dataclass(frozen=True)
class Arm:
    """One side.

    Attributes:
        words: what it is, for tables.
        labelled: pairs are made of the labelled rows.
        compared: pairs of the preference file are used.
    """

    words: str
    labelled: bool = False
    compared: bool = False

    @property
    def pairwise(self) -> bool:
        """False for the arm that learns from single labels."""
        return self.labelled or self.compared


ARMS = {
    "semantic": Arm("binary cross-entropy on the labelled rows"),
    "pairwise": Arm(
        "Safe-RLHF's loss on pairs of labelled rows and on the preference file", labelled=True, compared=True
    ),
    "pairwise_labelled": Arm("Safe-RLHF's loss on pairs of labelled rows alone", labelled=True),
    "pairwise_compared": Arm("Safe-RLHF's loss on the preference file alone", compared=True),
}
"""By name. The first two are the paper's question; the others tell the loss from the data."""


def training_pairs(
    arm: Arm, rows: Sequence[LabelledRow], compared: Sequence[CostPairRow], num_dialogues: int, seed: int
) -> list[CostPairRow]:
    """Pairs for one fit.

    A pass over the data holds each labelled row once (of the larger class some rows are left over) and each compared
    pair once, in random order; passes follow each other, with new partners, until there are enough.

    Args:
        arm: says what pairs are made of; nothing for the semantic arm.
        rows: labelled training rows.
        compared: pairs of the preference file that this fold may see.
        num_dialogues: what the fit may look at, two for each pair.
        seed: draws partners and order.
    """
    rng = np.random.default_rng([seed, 1])
    pairs: list[CostPairRow] = []
    while arm.pairwise and len(pairs) < num_dialogues // 2:
        one_pass = label_pairs(rows, rng) if arm.labelled else []
        one_pass += compared if arm.compared else []
        if not one_pass:
            raise ValueError("there is nothing to make pairs of")
        pairs += [one_pass[index] for index in rng.permutation(len(one_pass))]
    return pairs[: num_dialogues // 2]


def label_pairs(rows: Sequence[LabelledRow], rng: np.random.Generator) -> list[CostPairRow]:
    """Unsafe rows each with a safe one: to the same prompt where there is one, else any."""
    taken: set[int] = set()
    pairs = []
    for pair in pairs_by_label(rows):
        both = {id(pair.first), id(pair.second)}
        if not both & taken:
            taken |= both
            pairs.append(pair)
    left = [row for row in rows if id(row) not in taken]
    unsafe, safe = ([row for row in left if bool(row.unsafe[0]) is harm] for harm in (True, False))
    partners = zip(rng.permutation(len(unsafe)), rng.permutation(len(safe)), strict=False)
    return pairs + [pair_by_label(unsafe[i], safe[j]) for i, j in partners]


def without_leaks(
    pairs: Sequence[CostPairRow], rows: Sequence[LabelledRow], held_out_N: NDArray[np.bool_]
) -> list[CostPairRow]:
    """The pairs whose prompt is no near duplicate of a held-out row's (groups over the prompts of both files).

    Args:
        pairs: of the preference file.
        rows: all labelled rows.
        held_out_N: True on the rows that the fit is judged on.
    """
    groups = prompt_groups(
        [prompt_text(row.prompt) for row in rows] + [prompt_text(pair.first.prompt) for pair in pairs]
    )
    judged = set(groups[: len(rows)][held_out_N].tolist())
    return [pair for pair, group in zip(pairs, groups[len(rows) :].tolist(), strict=True) if group not in judged]
