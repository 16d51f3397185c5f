"""The cost stage on a small task, and what both score stages share: it is learned, reported and handed over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from csrlhf.data.score_data import LabelledDataModule, PreferenceDataModule
from csrlhf.data.settings import CostLoss
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreSpec
from csrlhf.models.settings import Pooling, ScoreSettings
from csrlhf.models.text_scorer import TextScorer
from csrlhf.stats.classification import expected_calibration_error
from csrlhf.stats.drift import Reference, one_of_each
from csrlhf.training.cost import CostModule
from csrlhf.training.reward import RewardModule
from csrlhf.training.settings import CostSettings, OptimizerSettings, RewardSettings

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


@pytest.fixture
def cost_module(letters: ModuleType, backbone: str) -> Callable[..., CostModule]:
    """``cost_module(loss="pairwise")``: not fitted yet."""

    def make(**options: Any) -> CostModule:
        settings = CostSettings(**letters.SETTINGS, eval_batch_size=5, **options)
        return CostModule(ScoreSpec(backbone, Pooling.last, 16), settings)

    return make


def cost_data(module: CostModule, source: Any) -> LabelledDataModule:
    return LabelledDataModule(source, module.tokenizer, module.settings, 16, 0)


def test_the_cost_stage_learns_reports_and_exports(
    letters: ModuleType, cost_module: Callable[..., CostModule], tmp_path: Path
) -> None:
    lightning.seed_everything(0, verbose=False)
    module, source = cost_module(), letters.Letters()
    data, runner = cost_data(module, source), letters.trainer()
    runner.fit(module, data)
    assert {"validation/loss", "validation/accuracy", "validation/auroc", "train/loss", "train/lr"} <= set(
        runner.callback_metrics
    )
    assert not module.final_metrics  # the report is for a run of its own
    runner.validate(module, data, verbose=False)
    runner.test(module, data, verbose=False)
    found = module.final_metrics
    assert found["test/accuracy"] == found["test/auroc"] == 1.0
    for name in ("accuracy", "precision", "recall", "specificity", "auroc", "ece", "brier"):
        assert found[f"validation/{name}_low"] <= found[f"validation/{name}_high"]
        assert f"baseline/test/{name}" in found
    assert found["cost/temperature"] == pytest.approx(float(module.model.temperature_K))
    assert found["cost/temperature"] != 1.0
    # Validation is judged before calibration, the test split after it; either way both errors are there.
    assert found["validation/ece_uncalibrated"] == pytest.approx(found["validation/ece"], abs=1e-5)
    assert found["test/ece_calibrated"] == pytest.approx(found["test/ece"], abs=1e-5)
    assert found["test/ece_calibrated"] < found["test/ece_uncalibrated"]

    (tmp_path / "cost").mkdir()
    module.export(tmp_path / "cost")
    # What it has seen lies beside it, a response of each prompt: lengths of training, scores and states of validation.
    reference = Reference.read(tmp_path / "cost")
    assert reference is not None
    known, train = (
        [rows[row] for row in one_of_each([row.prompt for row in rows], [row.response for row in rows])]
        for rows in (source.labelled("validation"), source.labelled("train"))
    )
    assert len(known) == len(train) == 3
    logits_NK, features_NH = TextScorer(tmp_path / "cost").scores_and_features(
        [row.prompt for row in known], [row.response for row in known], [True] * len(known)
    )
    np.testing.assert_allclose(reference.logits_MK, logits_NK.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(reference.features_MH, features_NH.numpy(), rtol=1e-4, atol=1e-4)
    assert reference.response_words_N.tolist() == [3.0] * len(train)

    rows = source.labelled("test")
    scores = TextScorer(tmp_path / "cost").score(
        [row.prompt for row in rows], [row.response for row in rows], [True] * len(rows)
    )
    assert scores.sigmoid().double().numpy() == pytest.approx(module.probabilities["test"], abs=1e-5)


def test_a_part_of_the_rows_is_judged_as_such(
    letters: ModuleType, cost_module: Callable[..., CostModule], backbone: str, tmp_path: Path
) -> None:
    """``trainer.limit_val_batches``: figures, and what is kept beside the model, are of the rows that were seen."""
    source, limits = letters.Letters(num_prompts=16), {"limit_val_batches": 1, "limit_test_batches": 1, "max_epochs": 1}
    cost = cost_module()
    reward = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, eval_batch_size=5))
    data = {cost: cost_data(cost, source)}
    data[reward] = PreferenceDataModule(source, reward.tokenizer, reward.settings, 16, 0)
    for module in (cost, reward):
        runner = letters.trainer(**limits)
        runner.fit(module, data[module])
        runner.validate(module, data[module], verbose=False)
        runner.test(module, data[module], verbose=False)
    assert len(source.labelled("validation")) > 5
    assert len(cost.probabilities["validation"]) == len(cost.probabilities["test"]) == 5
    assert "test/pair_accuracy_low" in reward.final_metrics
    (tmp_path / "cost").mkdir()
    cost.export(tmp_path / "cost")
    reference = Reference.read(tmp_path / "cost")
    assert reference is not None
    assert len(reference.logits_MK) == len(reference.features_MH) == 5


@pytest.mark.parametrize("max_steps", [3, 4, 6])
def test_the_last_step_is_validated_wherever_it_falls(
    letters: ModuleType, cost_module: Callable[..., CostModule], max_steps: int
) -> None:
    module = cost_module(baseline=False)
    judged: list[int] = []
    module._point_values = lambda *_: judged.append(module.global_step) or {}  # type: ignore[method-assign]
    letters.trainer(max_steps=max_steps, num_sanity_val_steps=0).fit(
        module, cost_data(module, letters.Letters())
    )  # four steps an epoch
    assert judged == sorted({min(4, max_steps), max_steps})


def test_two_constraints_have_two_outputs(letters: ModuleType, cost_module: Callable[..., CostModule]) -> None:
    lightning.seed_everything(0, verbose=False)
    module = cost_module(baseline=False)
    data, runner = cost_data(module, letters.Letters(("harm", "privacy"))), letters.trainer()
    runner.fit(module, data)
    runner.validate(module, data, verbose=False)
    assert module.model.outputs == ("harm", "privacy")
    assert module.final_metrics["validation/privacy/accuracy"] == 1.0
    temperatures = [module.final_metrics[f"cost/temperature/{name}"] for name in ("harm", "privacy")]
    assert module.model.temperature_K.tolist() == pytest.approx(temperatures)
    for k, name in enumerate(("harm", "privacy")):
        judged = module.logits["validation"][:, k] / temperatures[k]
        truth = torch.tensor([row.unsafe[k] for row in data.source.labelled("validation")]).bool().numpy()
        error = expected_calibration_error(1 / (1 + np.exp(-judged)), truth)
        assert module.final_metrics[f"validation/{name}/ece_calibrated"] == pytest.approx(error, abs=1e-6)
    assert not [key for key in module.final_metrics if "baseline" in key]


@pytest.mark.parametrize("constraints", [("harm",), ("harm", "privacy")])
def test_the_cost_stage_learns_from_pairs_and_judges_labels(
    letters: ModuleType, cost_module: Callable[..., CostModule], constraints: tuple[str, ...]
) -> None:
    lightning.seed_everything(0, verbose=False)
    module, source = cost_module(loss="pairwise", baseline=False), letters.LetterPairs(constraints)
    data, runner = cost_data(module, source), letters.trainer(max_epochs=40)
    runner.fit(module, data)
    runner.validate(module, data, verbose=False)
    area = "validation/harm" if len(constraints) > 1 else "validation"
    assert module.final_metrics[f"{area}/accuracy"] == 1.0
    assert len(module.probabilities["validation"]) == len(source.labelled("validation"))


def test_a_batch_of_pairs_holds_the_first_dialogues_and_then_the_second(
    letters: ModuleType, cost_module: Callable[..., CostModule]
) -> None:
    module = cost_module(loss="pairwise")
    data = cost_data(module, letters.LetterPairs())
    data._rows["train"] = data._load("train")
    batch = next(iter(data.train_dataloader()))
    x = module.tokenizer.convert_tokens_to_ids("x")
    assert (batch["input_ids"] == x).any(1).tolist() == [False] * 2 + [
        True
    ] * 2  # four dialogues, as cost.batch_size says
    assert batch["unsafe"].squeeze(1).tolist() == [0, 0, 1, 1]
    assert batch["order"].tolist() == [[-1.0], [-1.0]]


def test_pairs_need_an_even_number_of_dialogues() -> None:
    with pytest.raises(UserError, match=r"cost\.batch_size=5: must be even"):
        CostSettings(batch_size=5, loss=CostLoss.pairwise)


def test_an_unknown_cost_loss_is_named(cost_module: Callable[..., CostModule]) -> None:
    with pytest.raises(UserError, match=r"cost\.loss=ranked: must be one of semantic, pairwise"):
        cost_module(loss="ranked")


def test_calibration_can_be_left_out(letters: ModuleType, cost_module: Callable[..., CostModule]) -> None:
    module = cost_module(calibrate=False, baseline=False)
    letters.trainer().validate(module, cost_data(module, letters.Letters()), verbose=False)
    assert module.model.temperature_K.tolist() == [1.0]
    assert not [key for key in module.final_metrics if "calibrated" in key]


def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(letters: ModuleType, backbone: str) -> None:
    module = CostModule(
        ScoreSpec(backbone, Pooling.last, 16),
        CostSettings(**letters.SETTINGS | {"optimizer": OptimizerSettings(lr=1e30)}),
    )
    data = cost_data(module, letters.Letters())
    with pytest.raises(UserError, match=r"train/loss is .* at step \d+"):
        letters.trainer().fit(module, data)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_named(cost_module: Callable[..., CostModule], value: float) -> None:
    with pytest.raises(UserError, match=rf"cost\.label_smoothing={value}"):
        cost_module(label_smoothing=value)


@pytest.mark.parametrize(
    ("kind", "key", "options"),
    [
        (CostSettings, "cost.batch_size", {"batch_size": 0}),
        (RewardSettings, "reward.batch_size", {"batch_size": 0}),
        (ScoreSettings, "model.score.max_tokens", {"max_tokens": 3}),
        (CostSettings, "cost.eval_batch_size", {"eval_batch_size": 0}),
        (RewardSettings, "reward.window", {"window": 0}),
        (CostSettings, "cost.max_steps", {"max_steps": 0}),
        (RewardSettings, "reward.epochs", {"epochs": 0}),
    ],
)
def test_sizes_out_of_range_are_named(kind: Any, key: str, options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=rf"^{key}={next(iter(options.values()))}: "):
        kind(**options)


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_stage_that_would_not_train_is_refused(
    letters: ModuleType, cost_module: Callable[..., CostModule], backbone: str, epochs: int
) -> None:
    cost = cost_module(baseline=False)
    with pytest.raises(UserError, match=rf"cost\.epochs={epochs}: must be >= 1"):
        letters.trainer(max_epochs=epochs).fit(cost, cost_data(cost, letters.Letters()))
    reward = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**letters.SETTINGS, regularization=0.0))
    with pytest.raises(UserError, match=rf"reward\.epochs={epochs}: must be >= 1"):
        letters.trainer(max_epochs=epochs).fit(
            reward, PreferenceDataModule(letters.Letters(), reward.tokenizer, reward.settings, 16, 0)
        )


def test_batches_of_labels_and_of_pairs(letters: ModuleType, cost_module: Callable[..., CostModule]) -> None:
    module = cost_module()
    labelled = cost_data(module, letters.Letters())
    labelled.setup("validate")
    batch = next(iter(labelled.val_dataloader()))
    assert batch["input_ids"].shape == batch["mask"].shape == (5, batch["input_ids"].shape[1])
    assert batch["unsafe"].shape == (5, 1)
    pairs = PreferenceDataModule(letters.Letters(), module.tokenizer, RewardSettings(batch_size=4), 16, 0)
    pairs.setup("validate")
    batch = next(iter(pairs.val_dataloader()))
    x = module.tokenizer.convert_tokens_to_ids("x")
    assert batch["input_ids"].shape[0] == 2 * len(batch["rows"])
    assert (batch["input_ids"] == x).any(1).tolist() == [False] * 8 + [True] * 8  # chosen first
