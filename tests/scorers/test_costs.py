"""Which cost model a constraint's column comes from: by name, by outputs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.models.loading import load_trunk
from csrlhf.models.score_model import ScoreModel
from csrlhf.models.text_scorer import TextScorer
from csrlhf.scorers.costs import Columns, cost_scorer
from csrlhf.scorers.specs import named

TEXTS = (["a b", "c"], ["yes a", "no"], [True, False])


@pytest.fixture(scope="module")
def cost_model(tiny: ModuleType, folders: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``cost_model("privacy", ...)``: the folder of a random cost model with these outputs."""

    def make(*outputs: str) -> str:
        folder = tmp_path_factory.mktemp("-".join(outputs))
        model = ScoreModel(load_trunk(folders.sft), outputs, pooling="last", max_tokens=32)
        torch.nn.init.normal_(model.head.weight)
        model.save_pretrained(folder)
        tiny.tokenizer().save_pretrained(folder)
        return str(folder)

    return make


def test_every_folder_has_a_name() -> None:
    assert named(Path("a")) == {"cost": "a"}
    assert named(["a", "b"]) == {"0": "a", "1": "b"}
    assert named({"harm": "a", "privacy": "a"}) == {"harm": "a", "privacy": "a"}


def test_a_single_folder_is_a_single_scorer(cost_model: Callable[..., str]) -> None:
    folder = cost_model("harm", "privacy")
    for given in (folder, Path(folder)):
        scorer = cost_scorer(given, ("privacy",))
        assert isinstance(scorer, TextScorer)
        assert scorer.outputs == ("privacy",)


def test_a_mapping_says_whose_output_counts(cost_model: Callable[..., str]) -> None:
    first, second = cost_model("harm", "privacy"), cost_model("privacy", "harm", "other")
    names = ("privacy", "harm")
    scores_BK = cost_scorer({"harm": first, "privacy": second}, names).score(*TEXTS)
    torch.testing.assert_close(scores_BK[:, 0], TextScorer(second, outputs=("privacy",)).score(*TEXTS)[:, 0])
    torch.testing.assert_close(scores_BK[:, 1], TextScorer(first, outputs=("harm",)).score(*TEXTS)[:, 0])


def test_a_list_is_matched_by_outputs(cost_model: Callable[..., str]) -> None:
    harm, rest = cost_model("harm"), cost_model("fraud", "privacy", "unused")
    scores_BK = cost_scorer([rest, harm], ("harm", "privacy", "fraud")).score(*TEXTS)
    torch.testing.assert_close(scores_BK[:, :1], TextScorer(harm).score(*TEXTS))
    torch.testing.assert_close(scores_BK[:, 1:], TextScorer(rest, outputs=("privacy", "fraud")).score(*TEXTS))


def test_a_folder_named_twice_is_loaded_once(cost_model: Callable[..., str]) -> None:
    both, other = cost_model("harm", "privacy"), cost_model("fraud")
    models = cost_scorer({"harm": both, "fraud": other, "privacy": both}, ("harm", "fraud", "privacy"))
    assert isinstance(models, Columns)
    assert len(models.scorers) == 2
    scores_BK = models.score(*TEXTS)
    torch.testing.assert_close(scores_BK[:, [0, 2]], TextScorer(both).score(*TEXTS))
    torch.testing.assert_close(scores_BK[:, [1]], TextScorer(other).score(*TEXTS))


def test_missing_doubled_and_idle_models_are_refused(cost_model: Callable[..., str]) -> None:
    harm, both, fraud = cost_model("harm"), cost_model("harm", "privacy"), cost_model("fraud")
    names = ("harm", "privacy")
    with pytest.raises(
        UserError, match=rf"none of the cost models scores privacy \({harm} scores harm; {fraud} scores"
    ):
        cost_scorer([harm, fraud], names)
    with pytest.raises(UserError, match=rf"{harm} and {both} both score harm; .*inputs\.cost={{harm: {harm}"):
        cost_scorer([harm, both], names)
    with pytest.raises(UserError, match=rf"{fraud} scores none of harm, privacy"):
        cost_scorer([both, fraud], names)
    with pytest.raises(UserError, match=r"names harm, the constraints are harm, privacy; name one scorer for each"):
        cost_scorer({"harm": harm}, names)
    with pytest.raises(UserError, match=r"names fraud, harm, privacy, the constraints are harm, privacy"):
        cost_scorer({"harm": harm, "privacy": both, "fraud": fraud}, names)
    with pytest.raises(UserError, match=rf"{harm} scores harm and not privacy"):
        cost_scorer({"harm": harm, "privacy": harm}, names)
