"""Cost and reward stage on a small task: they learn it, report it, and hand over what was reported."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from csrlhf.data.pairs import pair_by_label
from csrlhf.data.score_data import LabelledDataModule, PreferenceDataModule
from csrlhf.data.settings import CostLoss
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.models.settings import Pooling, ScoreSettings
from csrlhf.models.text_scorer import TextScorer
from csrlhf.stats.classification import expected_calibration_error
from csrlhf.stats.drift import Reference, one_of_each
from csrlhf.training.cost import CostModule
from csrlhf.training.reward import RewardModule
from csrlhf.training.settings import CostSettings, OptimizerSettings, RewardSettings, ScheduleKind, ScheduleSettings
from csrlhf.types import CostPairRow, LabelledRow, PreferenceRow

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data

LETTERS = "abcdefgh"
SETTINGS: dict[str, Any] = {
    "batch_size": 4, "optimizer": OptimizerSettings(lr=1e-2), "schedule": ScheduleSettings(ScheduleKind.linear, 0.1),
}  # fmt: skip


class Letters:
    """Unsafe where the response holds an x; two constraints where asked (y is the second)."""

    name = "letters"
    oracle = None

    def __init__(self, constraints: tuple[str, ...] = ("harm",), num_prompts: int = 3) -> None:
        self.constraints, self.num_prompts = constraints, num_prompts

    def labelled(self, split: str) -> list[LabelledRow]:
        start = {"train": 0, "validation": 2, "test": 4}[split]
        responses = [f"{a} {b} {c}" for a in LETTERS[start : start + 4] for b in "xa" for c in "yb"]
        return [
            LabelledRow(
                f"{split[0]} {i % self.num_prompts}", r, (float("x" in r), float("y" in r))[: len(self.constraints)]
            )
            for i, r in enumerate(responses)
        ]

    def preferences(self, split: str) -> list[PreferenceRow]:
        rows = [row for row in self.labelled(split) if row.unsafe[0]]
        return [PreferenceRow(row.prompt, row.response.replace("x", "a"), row.response) for row in rows]


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    words = ["<pad>", "<unk>", "<eos>", *LETTERS, *"xytv012"]
    letters = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    letters.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    folder = tmp_path / "backbone"
    PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaModel(config).save_pretrained(folder)
    return str(folder)


def trainer(**options: Any) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"max_epochs": 20} | options
    return lightning.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **options)


def cost_module(backbone: str, **options: Any) -> CostModule:
    return CostModule(ScoreSpec(backbone, Pooling.last, 16), CostSettings(**SETTINGS, eval_batch_size=5, **options))


def cost_data(module: CostModule, source: Letters) -> LabelledDataModule:
    return LabelledDataModule(source, module.tokenizer, module.settings, 16, 0)


def test_the_cost_stage_learns_reports_and_exports(backbone: str, tmp_path: Path) -> None:
    lightning.seed_everything(0, verbose=False)
    module, source = cost_module(backbone), Letters()
    data, runner = cost_data(module, source), trainer()
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


def test_a_part_of_the_rows_is_judged_as_such(backbone: str, tmp_path: Path) -> None:
    """``trainer.limit_val_batches``: figures, and what is kept beside the model, are of the rows that were seen."""
    source, limits = Letters(num_prompts=16), {"limit_val_batches": 1, "limit_test_batches": 1, "max_epochs": 1}
    cost = cost_module(backbone)
    reward = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, eval_batch_size=5))
    data = {cost: cost_data(cost, source)}
    data[reward] = PreferenceDataModule(source, reward.tokenizer, reward.settings, 16, 0)
    for module in (cost, reward):
        runner = trainer(**limits)
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
def test_the_last_step_is_validated_wherever_it_falls(backbone: str, max_steps: int) -> None:
    module = cost_module(backbone, baseline=False)
    judged: list[int] = []
    module._point_values = lambda *_: judged.append(module.global_step) or {}  # type: ignore[method-assign]
    trainer(max_steps=max_steps, num_sanity_val_steps=0).fit(
        module, cost_data(module, Letters())
    )  # four steps an epoch
    assert judged == sorted({min(4, max_steps), max_steps})


def test_two_constraints_have_two_outputs(backbone: str) -> None:
    lightning.seed_everything(0, verbose=False)
    module = cost_module(backbone, baseline=False)
    data, runner = cost_data(module, Letters(("harm", "privacy"))), trainer()
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


class LetterPairs(Letters):
    """Each response with an x meets the same one without."""

    def cost_pairs(self, split: str) -> list[CostPairRow]:
        rows = [row for row in self.labelled(split) if row.unsafe[0]]
        safer = [LabelledRow(r.prompt, r.response.replace("x", "a"), (0.0, *r.unsafe[1:])) for r in rows]
        return [pair_by_label(first, second) for first, second in zip(safer, rows, strict=True)]


@pytest.mark.parametrize("constraints", [("harm",), ("harm", "privacy")])
def test_the_cost_stage_learns_from_pairs_and_judges_labels(backbone: str, constraints: tuple[str, ...]) -> None:
    lightning.seed_everything(0, verbose=False)
    module, source = cost_module(backbone, loss="pairwise", baseline=False), LetterPairs(constraints)
    data, runner = cost_data(module, source), trainer(max_epochs=40)
    runner.fit(module, data)
    runner.validate(module, data, verbose=False)
    area = "validation/harm" if len(constraints) > 1 else "validation"
    assert module.final_metrics[f"{area}/accuracy"] == 1.0
    assert len(module.probabilities["validation"]) == len(source.labelled("validation"))


def test_a_batch_of_pairs_holds_the_first_dialogues_and_then_the_second(backbone: str) -> None:
    module = cost_module(backbone, loss="pairwise")
    data = cost_data(module, LetterPairs())
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


def test_an_unknown_cost_loss_is_named(backbone: str) -> None:
    with pytest.raises(UserError, match=r"cost\.loss=ranked: must be one of semantic, pairwise"):
        cost_module(backbone, loss="ranked")


def test_calibration_can_be_left_out(backbone: str) -> None:
    module = cost_module(backbone, calibrate=False, baseline=False)
    trainer().validate(module, cost_data(module, Letters()), verbose=False)
    assert module.model.temperature_K.tolist() == [1.0]
    assert not [key for key in module.final_metrics if "calibrated" in key]


def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(backbone: str) -> None:
    module = CostModule(
        ScoreSpec(backbone, Pooling.last, 16), CostSettings(**SETTINGS | {"optimizer": OptimizerSettings(lr=1e30)})
    )
    data = cost_data(module, Letters())
    with pytest.raises(UserError, match=r"train/loss is .* at step \d+"):
        trainer().fit(module, data)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_named(backbone: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"cost\.label_smoothing={value}"):
        cost_module(backbone, label_smoothing=value)


def test_configuring_twice_keeps_the_weights(backbone: str) -> None:
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=0.0))
    module.configure_model()
    before = module.model
    module.configure_model()
    assert module.model is before


def test_the_reward_stage_learns_which_response_is_better(backbone: str, tmp_path: Path) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=0.01))
    data = PreferenceDataModule(Letters(), module.tokenizer, replace(module.settings, eval_batch_size=3), 16, 0)
    runner = trainer()
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


def test_a_tie_is_half_a_hit(backbone: str) -> None:
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=0.0))
    module.configure_model()
    torch.nn.init.zeros_(module.model.head.weight)
    data = PreferenceDataModule(Letters(), module.tokenizer, module.settings, 16, 0)
    trainer().validate(module, data, verbose=False)
    assert module.final_metrics["validation/pair_accuracy"] == 0.5


class SameSplit(Letters):
    """The validation rows again as the test split."""

    def labelled(self, split: str) -> list[LabelledRow]:
        return super().labelled({"test": "validation"}.get(split, split))


def test_margin_and_loss_have_the_units_of_training_before_and_after_standardisation(backbone: str) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=0.0))
    data, runner = PreferenceDataModule(SameSplit(), module.tokenizer, module.settings, 16, 0), trainer()
    runner.validate(module, data, verbose=False)
    runner.test(module, data, verbose=False)
    found = module.final_metrics
    assert abs(found["reward/scale"] - 1) > 0.2  # else there would be nothing to see
    for name in ("margin", "loss"):
        assert found[f"test/{name}"] == pytest.approx(found[f"validation/{name}"], rel=1e-4)


class Margins(SameSplit):
    """Every pair asks for a margin of its own."""

    def preferences(self, split: str) -> list[PreferenceRow]:
        return [replace(row, margin=0.25 * place) for place, row in enumerate(super().preferences(split))]


def test_margins_of_rows_and_the_constant_one_add_up_in_training_and_in_the_report(backbone: str) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(
        ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, margin=2.0, regularization=0.0)
    )
    data, runner = (
        PreferenceDataModule(Margins(), module.tokenizer, replace(module.settings, eval_batch_size=3), 16, 0),
        trainer(),
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


def test_training_reaches_for_the_margin(backbone: str) -> None:
    """Rewards ±d/2 minimise the regularised loss where σ(m - d) = d·rho/2: at d = 2.6 for m = 0, at 4.9 for m = 3."""
    found = []
    for margin in (0.0, 3.0):
        lightning.seed_everything(0, verbose=False)
        module = RewardModule(
            ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=0.05, margin=margin)
        )
        data, runner = PreferenceDataModule(Letters(), module.tokenizer, module.settings, 16, 0), trainer(max_epochs=60)
        runner.fit(module, data)
        runner.validate(module, data, verbose=False)
        found.append(module.final_metrics["validation/margin"])
    assert found[0] == pytest.approx(2.6, abs=0.5)
    assert found[1] == pytest.approx(4.9, abs=0.5)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_margin_out_of_range_is_named(backbone: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"reward\.margin={value}"):
        RewardModule(
            ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, margin=value, regularization=0.0)
        )


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_regularization_out_of_range_is_named(backbone: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"reward\.regularization={value}"):
        RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=value))


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
def test_a_stage_that_would_not_train_is_refused(backbone: str, epochs: int) -> None:
    cost = cost_module(backbone, baseline=False)
    with pytest.raises(UserError, match=rf"cost\.epochs={epochs}: must be >= 1"):
        trainer(max_epochs=epochs).fit(cost, cost_data(cost, Letters()))
    reward = RewardModule(ScoreSpec(backbone, Pooling.last, 16), RewardSettings(**SETTINGS, regularization=0.0))
    with pytest.raises(UserError, match=rf"reward\.epochs={epochs}: must be >= 1"):
        trainer(max_epochs=epochs).fit(
            reward, PreferenceDataModule(Letters(), reward.tokenizer, reward.settings, 16, 0)
        )


def test_batches_of_labels_and_of_pairs(backbone: str) -> None:
    module = cost_module(backbone)
    labelled = cost_data(module, Letters())
    labelled.setup("validate")
    batch = next(iter(labelled.val_dataloader()))
    assert batch["input_ids"].shape == batch["mask"].shape == (5, batch["input_ids"].shape[1])
    assert batch["unsafe"].shape == (5, 1)
    pairs = PreferenceDataModule(Letters(), module.tokenizer, RewardSettings(batch_size=4), 16, 0)
    pairs.setup("validate")
    batch = next(iter(pairs.val_dataloader()))
    x = module.tokenizer.convert_tokens_to_ids("x")
    assert batch["input_ids"].shape[0] == 2 * len(batch["rows"])
    assert (batch["input_ids"] == x).any(1).tolist() == [False] * 8 + [True] * 8  # chosen first


def test_a_head_without_a_bias_keeps_its_level_and_gets_its_scale(backbone: str) -> None:
    lightning.seed_everything(0, verbose=False)
    module = RewardModule(
        ScoreSpec(backbone, Pooling.last, 16, head_bias=False), RewardSettings(**SETTINGS, regularization=0.0)
    )
    data = PreferenceDataModule(Letters(), module.tokenizer, module.settings, 16, 0)
    trainer(max_epochs=2).fit(module, data)
    batches = list(data.val_dataloader())
    before = torch.cat([torch.cat(module._rewards(batch)) for batch in batches]).detach()
    trainer().validate(module, data, verbose=False)
    after = torch.cat([torch.cat(module._rewards(batch)) for batch in batches]).detach()
    assert module.final_metrics["reward/shift"] == 0.0
    torch.testing.assert_close(after, before / before.std())
