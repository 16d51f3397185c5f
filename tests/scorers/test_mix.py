"""Several scorers as one: sums by hand, the highest, and what does not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.models.text_scorer import TextScorer
from csrlhf.scorers.build import build

TEXTS: Any = (["a b", "c"], ["yes poison", "no"], [True, False])


def mixed(scorer_file: Path, **options: Any) -> dict[str, Any]:
    function = f"{scorer_file}:cost"
    parts = [function, {"scorer": "function", "function": function, "threshold": 1.0, "unit": 0.5}]
    return {"scorer": "mix", "scorers": parts} | options


def test_weights_apply_to_scores_on_our_scale(scorer_file: Path) -> None:
    """The parts give 2 and -1; and (2 - 1) / .5 = 2 and (-1 - 1) / .5 = -4."""
    assert build("k", mixed(scorer_file), "cost").score(*TEXTS).tolist() == [[2.0], [-2.5]]
    weighted = build("k", mixed(scorer_file, weights=[3.0, 0.5]), "cost")
    assert weighted.score(*TEXTS).tolist() == [[7.0], [-5.0]]
    assert build("k", mixed(scorer_file, combine="max"), "cost").score(*TEXTS).tolist() == [[2.0], [-1.0]]


def test_a_low_score_that_is_better_counts_against(scorer_file: Path) -> None:
    function = f"{scorer_file}:cost"
    parts = [f"{scorer_file}:reward", {"scorer": "function", "function": function, "higher": "worse"}]
    spec = {"scorer": "mix", "scorers": parts, "weights": [1.0, 2.0]}
    assert build("inputs.reward", spec, "reward", ["reward"]).score(*TEXTS).tolist() == [[1.0 - 4.0], [0.0 + 2.0]]


def test_folders_of_ours_mix_with_others(folders: Any, scorer_file: Path) -> None:
    spec = {"scorer": "mix", "scorers": [folders.cost_two, f"{scorer_file}:two"], "weights": [1.0, 1.0]}
    mix = build("inputs.cost", spec, "cost", ["privacy", "harm"])
    ours = TextScorer(folders.cost_two, outputs=("privacy", "harm")).score(*TEXTS)
    theirs = torch.tensor([[2.0, -2.0], [-1.0, -2.0]])  # their columns are as they are asked for
    torch.testing.assert_close(mix.score(*TEXTS), ours + theirs)
    assert mix.outputs == ("privacy", "harm")


def test_a_dialogue_that_one_of_them_cuts_is_cut(folders: Any, scorer_file: Path) -> None:
    mix = build("k", {"scorer": "mix", "scorers": [folders.cost, f"{scorer_file}:cost"]}, "cost", ["harm"])
    assert mix.cut_short("a", "yes " * 60, True)
    assert not mix.cut_short("a", "yes", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "must be a number above 0 for each of the 2 scorers"),
        ({"weights": [1.0, -1.0]}, "must be a number above 0"),
        ({"weights": [1.0, True]}, "must be a number above 0"),
        ({"combine": "min"}, "combine=min: must be sum or max"),
        ({"combine": "max", "weights": [1.0, 1.0]}, "has no meaning with combine: max"),
        ({"scorers": []}, "takes a list of scorers"),
    ],
)
def test_mistakes(scorer_file: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("k", mixed(scorer_file, **options), "cost")


def test_parts_that_score_different_things_are_refused(folders: Any, scorer_file: Path) -> None:
    spec = {"scorer": "mix", "scorers": [folders.cost_two, f"{scorer_file}:cost"]}
    with pytest.raises(UserError, match=r"scores harm, privacy, and .*all must score the same"):
        build("inputs.cost", spec, "cost")
