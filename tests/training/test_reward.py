"""The reward stage on a small task: it learns it, reports it in its own units, and hands over what was reported."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import lightning
import pytest
import torch

from csrlhf.data.score_data import PreferenceDataModule
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.models.settings import Pooling
from csrlhf.training.reward import RewardModule
from csrlhf.training.settings import RewardSettings

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


def test_the_reward_stage_learns_which_response_is_better(letters: ModuleType, backbone: str, tmp_path: Path) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(
        ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, regularization=0.01)
    )
    data = PreferenceDataModule(letters.Letters(), module.tokenizer, replace(module.settings, eval_batch_size=3), 16, 0)
    runner = letters.trainer()
    runner.fit(module, data)
    runner.validate(module, data, verbose=False)
    found = module.final_metrics
    assert found["validation/pair_accuracy"] == 1.0
    assert found["validation/margin"] > 0
    assert found["validation/loss"] < math.log(2)
    assert 0.5 < found["validation/pair_accuracy_low"] <= found["validation/pair_accuracy_high"] == 1.0
    (tmp_path / "reward").mkdir()
    module.export(tmp_path / "reward")
    assert ScoreModel.from_pretrained(tmp_path / "reward").outputs == ("reward",)


def test_a_tie_is_half_a_hit(letters: ModuleType, backbone: str) -> None:
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, regularization=0.0))
    module.configure_model()
    torch.nn.init.zeros_(module.model.head.weight)
    data = PreferenceDataModule(letters.Letters(), module.tokenizer, module.settings, 16, 0)
    letters.trainer().validate(module, data, verbose=False)
    assert module.final_metrics["validation/pair_accuracy"] == 0.5


def test_margin_and_loss_have_the_units_of_training_before_and_after_standardisation(
    letters: ModuleType, backbone: str
) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, regularization=0.0))
    data, runner = (
        PreferenceDataModule(letters.SameSplit(), module.tokenizer, module.settings, 16, 0),
        letters.trainer(),
    )
    runner.validate(module, data, verbose=False)
    runner.test(module, data, verbose=False)
    found = module.final_metrics
    assert abs(found["reward/scale"] - 1) > 0.2  # else there would be nothing to see
    for name in ("margin", "loss"):
        assert found[f"test/{name}"] == pytest.approx(found[f"validation/{name}"], rel=1e-4)


def test_margins_of_rows_and_the_constant_one_add_up_in_training_and_in_the_report(
    letters: ModuleType, backbone: str
) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(
        ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, margin=2.0, regularization=0.0)
    )
    data, runner = (
        PreferenceDataModule(letters.Margins(), module.tokenizer, replace(module.settings, eval_batch_size=3), 16, 0),
        letters.trainer(),
    )
    runner.validate(module, data, verbose=False)  # standardises: the test split is judged in other units
    runner.test(module, data, verbose=False)
    differences = []
    for batch in data.test_dataloader():
        chosen, rejected = module.model(batch["input_ids"], batch["mask"]).squeeze(1).chunk(2)
        wide = 2.0 + 0.25 * torch.tensor(batch["rows"])
        torch.testing.assert_close(2.0 + batch["margin"], wide)
        differences.append((chosen - rejected).detach() * module.final_metrics["reward/scale"] - wide)
    loss = torch.log1p(torch.exp(-torch.cat(differences))).mean().item()
    assert module.final_metrics["test/loss"] == pytest.approx(loss, rel=1e-4)
    assert module.final_metrics["validation/loss"] == pytest.approx(loss, rel=1e-4)


def test_training_reaches_for_the_margin(letters: ModuleType, backbone: str) -> None:
    """Rewards ±d/2 minimise the regularised loss where σ(m - d) = d·rho/2: at d = 2.6 for m = 0, at 4.9 for m = 3."""
    found = []
    for margin in (0.0, 3.0):
        lightning.seed_everything(0, verbose=False)
        module = RewardModule(
            ScoreSpec(backbone, Pooling.last, 16),
            RewardSettings(**letters.SETTINGS, regularization=0.05, margin=margin),
        )
        data, runner = (
            PreferenceDataModule(letters.Letters(), module.tokenizer, module.settings, 16, 0),
            letters.trainer(max_epochs=60),
        )
        runner.fit(module, data)
        runner.validate(module, data, verbose=False)
        found.append(module.final_metrics["validation/margin"])
    assert found[0] == pytest.approx(2.6, abs=0.5)
    assert found[1] == pytest.approx(4.9, abs=0.5)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_margin_out_of_range_is_named(letters: ModuleType, backbone: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"reward\.margin={value}"):
        RewardModule(
            ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, margin=value, regularization=0.0)
        )


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_regularization_out_of_range_is_named(letters: ModuleType, backbone: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"reward\.regularization={value}"):
        RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, regularization=value))


def test_a_head_without_a_bias_keeps_its_level_and_gets_its_scale(letters: ModuleType, backbone: str) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(
        ScoreSpec(backbone, Pooling.last, 16, head_bias=False), RewardSettings(**letters.SETTINGS, regularization=0.0)
    )
    data = PreferenceDataModule(letters.Letters(), module.tokenizer, module.settings, 16, 0)
    letters.trainer(max_epochs=2).fit(module, data)
    batches = list(data.val_dataloader())
    before = torch.cat([torch.cat(module._rewards(batch)) for batch in batches]).detach()
    letters.trainer().validate(module, data, verbose=False)
    after = torch.cat([torch.cat(module._rewards(batch)) for batch in batches]).detach()
    assert module.final_metrics["reward/shift"] == 0.0
    torch.testing.assert_close(after, before / before.std())


def test_configuring_twice_keeps_the_weights(letters: ModuleType, backbone: str) -> None:
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, regularization=0.0))
    module.configure_model()
    before = module.model
    module.configure_model()
    assert module.model is before
