"""A cost model on a frozen backbone: the head is the solution, the backbone stays, the folder is an ordinary one."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning
import pytest
import torch

from csrlhf.data.encoding import encode_dialogue, pad
from csrlhf.data.score_data import LabelledDataModule
from csrlhf.data.settings import CostLoss
from csrlhf.errors import UserError
from csrlhf.models.adapters import check_tuning
from csrlhf.models.score_model import ScoreSpec
from csrlhf.models.settings import Pooling, SavedAs, Tuning, TuningMethod
from csrlhf.models.text_scorer import TextScorer
from csrlhf.ops.logistic import fit_logistic
from csrlhf.tracking.averaging import MovingAverage
from csrlhf.training.cost import CostModule
from csrlhf.training.reward import RewardModule
from csrlhf.training.settings import CostSettings, RewardSettings

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data

FROZEN = Tuning(TuningMethod.frozen)


def fitted(letters: ModuleType, backbone: str, **options: Any) -> tuple[CostModule, LabelledDataModule]:
    lightning.seed_everything(0, verbose=False)
    spec = ScoreSpec(backbone, Pooling.weighted, 16, {"attention_dropout": 0.5}, tuning=FROZEN)
    module = CostModule(spec, CostSettings(**letters.SETTINGS, eval_batch_size=5, **options))
    data = LabelledDataModule(letters.Letters(), module.tokenizer, module.settings, 16, 0)
    letters.trainer(max_epochs=1).fit(module, data)
    return module, data


@pytest.mark.parametrize("options", [{}, {"ridge": 0.01, "label_smoothing": 0.1}])
def test_one_pass_gives_the_head_its_solution(letters: ModuleType, backbone: str, options: dict[str, Any]) -> None:
    module, _ = fitted(letters, backbone, **options)
    rows = letters.Letters().labelled("train")
    ids = [encode_dialogue(module.tokenizer, row.prompt, row.response, 16) for row in rows]
    states = module.model.eval().features(*pad(ids, 0))
    smoothing = options.get("label_smoothing", 0.0)
    target = torch.tensor([row.unsafe for row in rows]) * (1 - smoothing) + smoothing / 2
    weight, bias = fit_logistic(states, target, options.get("ridge", 0.1))
    torch.testing.assert_close(module.model.head.weight.double(), weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(module.model.head.bias.double(), bias, atol=1e-4, rtol=1e-3)


def test_the_backbone_stays_and_every_stage_can_load_the_folder(
    letters: ModuleType, backbone: str, tmp_path: Path
) -> None:
    module, data = fitted(letters, backbone, ridge=1e-3)
    start = ScoreSpec(backbone, Pooling.weighted, 16).build(("harm",)).backbone.state_dict()
    for name, weight in module.model.backbone.state_dict().items():
        assert torch.equal(weight, start[name]), name
    runner = letters.trainer()
    runner.validate(module, data, verbose=False)
    runner.test(module, data, verbose=False)
    assert module.final_metrics["validation/auroc"] > 0.9
    (tmp_path / "cost").mkdir()
    module.export(tmp_path / "cost")
    rows = letters.Letters().labelled("test")
    scores = TextScorer(tmp_path / "cost").score(
        [row.prompt for row in rows], [row.response for row in rows], [True] * len(rows)
    )
    assert scores.sigmoid().double().numpy() == pytest.approx(module.probabilities["test"], abs=1e-5)


def test_several_constraints_are_fitted_apart(letters: ModuleType, backbone: str) -> None:
    spec = ScoreSpec(backbone, Pooling.weighted, 16, tuning=FROZEN)
    module = CostModule(spec, CostSettings(**letters.SETTINGS, eval_batch_size=5, ridge=1e-3))
    source = letters.Letters(("harm", "privacy"))
    runner = letters.trainer(max_epochs=1)
    runner.fit(module, LabelledDataModule(source, module.tokenizer, module.settings, 16, 0))
    assert module.model.head.weight.shape == (2, 16)
    assert float(runner.callback_metrics["validation/auroc"]) > 0.9


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"epochs": 3}, r"cost\.epochs=3: with .*frozen one pass .*set cost\.epochs=1"),
        ({"loss": CostLoss.pairwise}, r"cost\.loss=pairwise: .*set cost\.loss=semantic"),
        ({"averaging": MovingAverage(0.9)}, r"cost\.averaging=.*set cost\.averaging=null"),
        ({"ridge": 0.0}, r"cost\.ridge=0\.0: must be above 0"),
    ],
)
def test_settings_that_a_fit_does_not_read_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        CostModule(ScoreSpec("somewhere", tuning=FROZEN), CostSettings(**options))


def test_a_head_without_a_bias_and_a_penalty_without_a_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.score\.head_bias=False: .*set model\.score\.head_bias=true"):
        CostModule(ScoreSpec("somewhere", tuning=FROZEN, head_bias=False), CostSettings())
    with pytest.raises(UserError, match=r"cost\.ridge=0\.1: .*set model\.score\.tuning\.method=frozen"):
        CostModule(ScoreSpec("somewhere"), CostSettings(ridge=0.1))


def test_policies_and_reward_models_are_not_frozen() -> None:
    with pytest.raises(UserError, match=r"model\.policy\.tuning\.method=frozen: trains nothing"):
        check_tuning(SavedAs.merged, FROZEN)
    with pytest.raises(UserError, match=r"model\.score\.tuning\.method=frozen: .*stage=reward"):
        RewardModule(ScoreSpec("somewhere", tuning=FROZEN), RewardSettings())
