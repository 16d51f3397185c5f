"""Two rows of ours: shape, numbers and direction are looked at before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from csrlhf.errors import InputWarning, UserError
from csrlhf.scorers.base import Scorer
from csrlhf.scorers.costs import cost_scorer, reward_scorer
from csrlhf.scorers.probe import HARMFUL, HARMLESS, SALAD, probe


def function(folder: Path, harmful: Any, harmless: Any, **options: Any) -> dict[str, Any]:
    """A function with these scores for the two rows."""
    path = folder / "scores.py"
    path.write_text(
        f"def f(p, r):\n    return [{harmful} if 'poison' in t else {harmless} for t in r]\n", encoding="utf-8"
    )
    return {"scorer": "function", "function": f"{path}:f"} | options


@pytest.mark.parametrize(
    ("harmful", "harmless", "message"),
    [
        (
            -1.0,
            2.0,
            "scores a compliant answer .* with harm -1 and 2: the harmful one must .* say higher: safe",
        ),
        (0.5, 0.5, "the harmful one must have the higher cost"),
        (0.9, 0.1, "above 0 counts as unsafe, so that the harmless one would; say scale: probability if"),
        (7.0, 3.0, "so that the harmless one would; say threshold: the score"),
        ("float('nan')", 0.0, "scores must be finite numbers"),
    ],
)
def test_costs_that_look_wrong(tmp_path: Path, harmful: Any, harmless: Any, message: str) -> None:
    spec = function(tmp_path, harmful, harmless)
    with pytest.raises(UserError, match=rf"inputs\.cost={spec['function']}.*{message}|{message}"):
        cost_scorer(spec, ["harm"])
    if not isinstance(harmful, str):
        assert cost_scorer(spec | {"probe": False}, ["harm"]).outputs == ("harm",)


def test_the_keys_that_the_messages_name_mend_it(tmp_path: Path) -> None:
    cost_scorer(function(tmp_path, -1.0, 2.0, higher="safe", threshold=0.0), ["harm"])
    cost_scorer(function(tmp_path, 0.9, 0.1, scale="probability"), ["harm"])
    cost_scorer(function(tmp_path, 7.0, 3.0, threshold=5.0), ["harm"])


def test_a_harmful_answer_that_counts_as_safe_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match="the harmful one counts as safe"):
        cost_scorer(function(tmp_path, -1.0, -2.0), ["harm"])


def test_of_several_outputs_one_may_be_about_something_else(tmp_path: Path) -> None:
    spec = function(tmp_path, [2.0, -3.0], [-1.0, -2.0])
    cost_scorer(spec, ["harm", "privacy"])
    with pytest.raises(UserError, match="harm -2 and -1; privacy -3 and -2: the harmful one must"):
        cost_scorer(function(tmp_path, [-2.0, -3.0], [-1.0, -2.0], batch_size=7), ["harm", "privacy"])


def test_a_reward_prefers_a_sentence_to_its_words_in_another_order(tmp_path: Path) -> None:
    assert sorted(SALAD[1].split()) == sorted(HARMLESS[1].split())
    assert len(SALAD[1]) == len(HARMLESS[1])
    path = tmp_path / "reward.py"
    path.write_text(
        "def good(p, r):\n    return [float('is Paris.' in t) for t in r]\n\n\n"
        "def bad(p, r):\n    return [-float('is Paris.' in t) for t in r]\n\n\n"
        "def length(p, r):\n    return [len(t) for t in r]\n",
        encoding="utf-8",
    )
    for name in ("good", "length"):
        reward_scorer(f"{path}:{name}")
    with pytest.raises(UserError, match=r"rewards an answer .*more than its words in order \(-1\); say higher: worse"):
        reward_scorer(f"{path}:bad")
    reward_scorer({"scorer": "function", "function": f"{path}:bad", "higher": "worse"})
    reward_scorer({"scorer": "function", "function": f"{path}:bad", "probe": False})


def test_the_part_of_a_mix_that_is_wrong_is_named(tmp_path: Path, scorer_file: Path) -> None:
    parts = [f"{scorer_file}:cost", function(tmp_path, -1.0, 2.0)]
    with pytest.raises(UserError, match=r"inputs\.cost\.1=.*scores\.py:f: scores a compliant answer"):
        cost_scorer({"scorer": "mix", "scorers": parts}, ["harm"])
    cost_scorer({"scorer": "mix", "scorers": parts, "probe": False}, ["harm"])


def test_a_wrong_shape_is_told(tmp_path: Path) -> None:
    class Flat(Scorer):
        outputs, name = ("harm",), "flat"

        def raw_scores(self, prompts: Any, responses: Any, ended: Any) -> torch.Tensor:
            return torch.zeros(len(prompts))

    with pytest.raises(UserError, match=r"k=flat: gives scores of the shape \(2,\) for 2 responses and harm"):
        probe("k", Flat(), "cost")


def test_score_models_of_ours_are_not_asked(folders: Any) -> None:
    """Their words may be a toy world's: here all of ours are unknown ones."""
    assert cost_scorer(folders.cost, ["harm"]).score([HARMFUL[0]], [HARMFUL[1]], [True]).shape == (1, 1)
