"""From a config to a scorer: kinds, keys, what a high score means and which score counts as unsafe."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.models.text_scorer import TextScorer
from csrlhf.scorers.base import Scorer
from csrlhf.scorers.build import build, check, is_ours
from csrlhf.scorers.costs import cost_scorer, reward_scorer

TEXTS: Any = (["a b", "c"], ["yes poison", "no"], [True, False])


class Lengths(Scorer):
    """A scorer of somebody's own: how many words a response has more than so many."""

    def __init__(self, limit: int, outputs: Any = None) -> None:
        super().__init__()
        self.outputs, self.name, self.limit = tuple(outputs or ("harm",)), "lengths", limit

    def raw_scores(self, prompts: Any, responses: Any, ended: Any) -> torch.Tensor:
        return torch.tensor([[float(len(said.split()) - self.limit)] for said in responses])


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """The dotted name of ``Lengths``."""
    module = ModuleType("my_scorers")
    module.Lengths = Lengths  # type: ignore[attr-defined]  # a module made up here
    module.Other = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_scorers", module)
    return "my_scorers.Lengths"


def test_a_folder_of_ours_is_itself(folders: Any) -> None:
    scorer = build("inputs.cost", folders.cost_two, "cost", ["privacy"])
    torch.testing.assert_close(scorer.score(*TEXTS), TextScorer(folders.cost_two, outputs=["privacy"]).score(*TEXTS))
    assert is_ours(folders.cost)
    assert not is_ours(folders.sft)
    described = {"scorer": "folder", "model": folders.cost, "threshold": 0.5, "unit": 2.0}
    shifted = build("inputs.cost", described, "cost", ["harm"])
    torch.testing.assert_close(shifted.score(*TEXTS), (TextScorer(folders.cost).score(*TEXTS) - 0.5) / 2)
    scores, features = shifted.scores_and_features(*TEXTS)
    torch.testing.assert_close(scores, shifted.score(*TEXTS))
    assert features.shape == (2, 16)


def test_a_class_of_one_s_own(own: str) -> None:
    spec = {"scorer": own, "limit": 1, "threshold": 0.5}
    scorer = cost_scorer(spec | {"probe": False}, ["brevity"])
    assert scorer.outputs == ("brevity",)
    assert scorer.score(*TEXTS).tolist() == [[0.5], [-0.5]]
    with pytest.raises(UserError, match="lengths: scores a compliant answer"):  # a sentence is above the threshold
        cost_scorer(spec, ["brevity"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"scorer": "gard", "model": "x"}, r"k\.scorer=gard: must be one of folder, .*did you mean guard\?"),
        ({"scorer": "nowhere.Scorer"}, r"k\.scorer=nowhere\.Scorer: cannot be imported"),
        ({"scorer": "my_scorers.Other"}, r"must be a class that inherits from csrlhf\.scorers\.base\.Scorer"),
        ({"scorer": "my_scorers.Lengths"}, r"k: the scorer my_scorers\.Lengths needs a value for limit"),
        (
            {"scorer": "my_scorers.Lengths", "limt": 1},
            r"k\.limt=1: .*did you mean limit\?.*takes limit, outputs, scale",
        ),
        ({"scorer": "guard", "style": "wildguard"}, "k: the scorer guard needs a value for model"),
        ({"scorer": "folder", "folder": "x"}, r"k\.folder=x: the scorer folder has no such key"),
        ({"scorer": "endpoint", "url": "http://x", "higher": "better"}, r"k\.higher=better: must be unsafe or safe"),
        ({"scorer": "endpoint", "url": "http://x", "probe": "no"}, r"k\.probe=no: must be true or false"),
        ({"scorer": "endpoint", "url": "http://x", "unit": 0}, r"k\.unit=0: must be a number above 0"),
        ({"scorer": "function", "function": "nowhere.py:x"}, r"k\.function=nowhere\.py:x: there is no such file"),
        ({"scorer": "mix", "scorers": [{"scorer": "gard"}]}, r"k\.scorers\.0\.scorer=gard"),
        ({"harm": {"scorer": "gard"}}, r"k\.harm\.scorer=gard"),
        (["http://x", {"scorer": "gard"}], r"k\.1\.scorer=gard"),
    ],
)
def test_descriptions_are_looked_at_before_anything_is_loaded(own: str, spec: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check("k", spec, "cost")


def test_a_label_that_says_nothing_needs_a_key(beside: Any, tmp_path: Path) -> None:
    encoder = beside("scorers/test_classifier.py".removesuffix(".py"), "classifier_tests").encoder
    unknown, safe = encoder(tmp_path / "one", ["LABEL_0"]), encoder(tmp_path / "two", ["safe"])
    with pytest.raises(UserError, match="nothing says whether a high score means unsafe or safe; say it with higher:"):
        build("inputs.cost", unknown, "cost", ["harm"])
    spec = {"scorer": "classifier", "model": unknown}
    high = build("inputs.cost", spec | {"higher": "unsafe"}, "cost", ["harm"]).score(*TEXTS)
    low = build("inputs.cost", spec | {"higher": "safe"}, "cost", ["harm"]).score(*TEXTS)
    torch.testing.assert_close(low, -high)
    torch.testing.assert_close(build("inputs.reward", unknown, "reward", ["reward"]).score(*TEXTS), high)
    named = build("inputs.cost", safe, "cost", ["harm"])  # the label's name says it
    torch.testing.assert_close(named.score(*TEXTS), -named.raw_scores(*TEXTS))
    with pytest.raises(UserError, match="by its own account high is safe, not better"):
        build("inputs.reward", safe, "reward", ["reward"])


def test_a_regression_s_threshold_has_to_be_said(beside: Any, tmp_path: Path) -> None:
    encoder = beside("scorers/test_classifier", "classifier_tests").encoder
    folder = encoder(tmp_path / "one", ["toxicity"], problem_type="regression")
    with pytest.raises(UserError, match="nothing says which of its scores count as unsafe; say it with threshold:"):
        build("inputs.cost", folder, "cost", ["harm"])
    spec = {"scorer": "classifier", "model": folder, "threshold": 0.5}
    scorer = build("inputs.cost", spec, "cost", ["harm"])
    torch.testing.assert_close(scorer.score(*TEXTS), scorer.raw_scores(*TEXTS) - 0.5)


def test_one_scorer_is_one(scorer_file: Path) -> None:
    with pytest.raises(UserError, match=r"inputs\.reward=.*takes one scorer; several are a mix"):
        reward_scorer({"a": f"{scorer_file}:reward", "b": f"{scorer_file}:reward"})


def test_constraints_may_have_scorers_of_any_kind(folders: Any, scorer_file: Path) -> None:
    scorer = cost_scorer({"privacy": folders.cost_two, "harm": f"{scorer_file}:cost"}, ("harm", "privacy"))
    scores = scorer.score(*TEXTS)
    assert scores[:, 0].tolist() == [2.0, -1.0]
    torch.testing.assert_close(scores[:, 1:], TextScorer(folders.cost_two, outputs=("privacy",)).score(*TEXTS))
    listed = cost_scorer([folders.cost_privacy, f"{scorer_file}:cost"], None)
    assert listed.outputs == ("privacy", "harm")
