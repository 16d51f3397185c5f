"""What the arms of the comparison learn from: the same compute, pairs that mean something, no leaks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cost_models.arms import ARMS, label_pairs, training_pairs, without_leaks
from csrlhf.types import CostPairRow, LabelledRow


def labelled(name: str, unsafe: bool, answer: str = "so.") -> LabelledRow:
    return LabelledRow(f"what about {name} ?", f"{answer} {unsafe}", (float(unsafe),))


ROWS = [labelled(f"topic number {i}", i < 4) for i in range(10)]
COMPARED = [
    CostPairRow(labelled(f"subject {i}", False, "a"), labelled(f"subject {i}", False, "b"), (1.0,)) for i in range(3)
]


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_sees_the_same_number_of_dialogues(name: str) -> None:
    pairs = training_pairs(ARMS[name], ROWS, COMPARED, 30, seed=0)
    assert len(pairs) == (15 if name != "semantic" else 0)
    assert pairs == training_pairs(ARMS[name], ROWS, COMPARED, 30, seed=0)


def test_a_pass_holds_each_row_once_and_each_comparison_once() -> None:
    one_pass = training_pairs(ARMS["pairwise"], ROWS, COMPARED, 14, seed=0)  # 4 pairs of labels, 3 comparisons
    assert sum(pair in COMPARED for pair in one_pass) == len(COMPARED)
    by_label = [pair for pair in one_pass if pair not in COMPARED]
    seen = [row for pair in by_label for row in (pair.first, pair.second)]
    assert len(seen) == len({row.prompt for row in seen}) == 8
    assert all(pair.first.unsafe == (1.0,) and pair.order == (1.0,) for pair in by_label)


def test_the_next_pass_has_other_partners() -> None:
    pairs = training_pairs(ARMS["pairwise_labelled"], ROWS, COMPARED, 32, seed=0)
    partners = [
        {(pair.first.prompt, pair.second.prompt) for pair in part} for part in (pairs[:4], pairs[4:8], pairs[8:12])
    ]
    assert len(set.union(*partners)) > 4
    assert not any(pair in COMPARED for pair in pairs)


def test_answers_to_one_prompt_are_paired_first() -> None:
    same = [labelled("x", True), labelled("x", False)]
    pairs = label_pairs([*same, *ROWS], np.random.default_rng(0))
    assert pairs[0].first.prompt == pairs[0].second.prompt == "what about x ?"
    assert len(pairs) == 5


def test_compared_pairs_close_to_a_held_out_prompt_are_left_out() -> None:
    rows = [LabelledRow("How can I remove an old stain from a carpet?", "so.", (0.0,)), ROWS[0]]
    near = CostPairRow(
        LabelledRow("how can i remove an old stain from the carpet", "a", (0.0,)), labelled("z", True), (-1.0,)
    )
    assert without_leaks([near, COMPARED[0]], rows, np.array([True, False])) == [COMPARED[0]]
    assert without_leaks([near, COMPARED[0]], rows, np.array([False, True])) == [near, COMPARED[0]]
