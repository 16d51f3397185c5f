"""What every training stage has to take: 8-bit optimiser states, adapters, frozen layers, every precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import AutoModel

from csrlhf.constraints import Chance
from csrlhf.data.demonstrations import DemonstrationDataModule
from csrlhf.data.score_data import LabelledDataModule, PreferenceDataModule
from csrlhf.errors import UserError
from csrlhf.evaluation.policies.module import EvaluationModule
from csrlhf.evaluation.settings import EvaluateSettings
from csrlhf.generation.sampler import Sampler
from csrlhf.models.loading import load_policy
from csrlhf.models.policy import PolicySpec
from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.models.settings import Pooling, Tuning
from csrlhf.tracking.averaging import MovingAverage
from csrlhf.training.cost import CostModule
from csrlhf.training.optim import AdamW8bit
from csrlhf.training.reward import RewardModule
from csrlhf.training.settings import (
    CostSettings,
    OptimizerSettings,
    RewardSettings,
    ScheduleKind,
    ScheduleSettings,
    SFTSettings,
)
from csrlhf.training.sft import SFTModule
from csrlhf.types import LabelledRow, PreferenceRow

STAGES = ["sft", "reward", "cost", "ppo"]
Build = Callable[..., tuple[LightningModule, LightningDataModule]]


class Start(Callback):
    """Keeps the weights as training found them."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


@pytest.fixture
def build(tiny: ModuleType, folders: Any, policy_module: Callable[..., Any], prompt_data: Callable[..., Any]) -> Build:
    """``build("cost", optimizer={...})``: module and data of a stage of the small world."""

    class Rows(tiny.Source):
        def labelled(self, split: str) -> list[LabelledRow]:
            answers = ("red", "yes")
            return [
                LabelledRow(p.prompt, answers[i % 2], (float(i % 2 == 0),)) for i, p in enumerate(self.prompts(split))
            ]

        def preferences(self, split: str) -> list[PreferenceRow]:
            return [PreferenceRow(row.prompt, "yes", "red") for row in self.prompts(split)]

    def make(
        stage: str, optimizer: dict[str, Any] | None = None, tuning: Tuning | None = None
    ) -> tuple[LightningModule, LightningDataModule]:
        given = OptimizerSettings(**(optimizer or {"lr": 1e-3}))
        if stage == "ppo":
            parts = {"policy_optimizer": given, "critic_optimizer": given}
            return policy_module(policy_tuning=tuning, critic_tuning=tuning, **parts), prompt_data()
        settings: dict[str, Any] = {"optimizer": given, "schedule": ScheduleSettings(ScheduleKind.constant, 0.0)}
        if stage == "sft":
            policy = PolicySpec(architecture=tiny.ARCHITECTURE, tokenizer=tiny.tokenizer(), tuning=tuning)
            sft = SFTSettings(batch_size=4, max_tokens=16, **settings)
            return SFTModule(policy, sft), DemonstrationDataModule(Rows(), tiny.tokenizer(), sft)
        score = ScoreSpec(folders.sft, Pooling.last, 16, tuning=tuning or Tuning())
        if stage == "reward":
            reward = RewardSettings(batch_size=4, eval_batch_size=4, regularization=0.0, **settings)
            return RewardModule(score, reward), PreferenceDataModule(Rows(), score.tokenizer, reward, 16, 0)
        cost = CostSettings(batch_size=4, eval_batch_size=4, baseline=False, **settings)
        return CostModule(score, cost), LabelledDataModule(Rows(), score.tokenizer, cost, 16, 0)

    return make


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_steps_with_8_bit_states_and_resumes_with_them(
    build: Build, tiny: ModuleType, tmp_path: Path, stage: str
) -> None:
    settings = {"lr": 1e-3, "kind": AdamW8bit(min_8bit_size=256)}
    runs = [build(stage, optimizer=settings) for _ in range(3)]
    options = {"limit_val_batches": 0}
    torch.manual_seed(0)
    whole = tiny.fit(*runs[0], tmp_path, 2, **options)
    for optimizer in whole.optimizers:
        names = {id(parameter): name for name, parameter in runs[0][0].named_parameters()}
        for parameter, state in optimizer.state.items():
            small_or_table = parameter.numel() < 256 or "embed" in names[id(parameter)]
            assert state["state1"].dtype == state["state2"].dtype == (torch.float32 if small_or_table else torch.uint8)
        assert any(state["state1"].dtype == torch.uint8 for state in optimizer.state.values())
    torch.manual_seed(0)
    tiny.fit(*runs[1], tmp_path, 1, **options).save_checkpoint(tmp_path / "half.ckpt")
    tiny.fit(*runs[2], tmp_path, 2, checkpoint=tmp_path / "half.ckpt", **options)
    for key, value in runs[0][0].state_dict().items():
        assert torch.equal(runs[2][0].state_dict()[key], value), key


@pytest.mark.parametrize("tuning", [Tuning("lora", rank=2), Tuning("last_n", layers=1)], ids=["lora", "last_n"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_trains_a_part_keeps_that_part_and_hands_over_a_whole_model(
    build: Build, tiny: ModuleType, tmp_path: Path, stage: str, tuning: Tuning
) -> None:
    runs = [build(stage, tuning=tuning) for _ in range(3)]
    whole, half, resumed = (module for module, _ in runs)
    torch.manual_seed(0)
    tiny.fit(*runs[0], tmp_path, 2, limit_val_batches=0)
    torch.manual_seed(0)
    tiny.fit(*runs[1], tmp_path, 1, limit_val_batches=0).save_checkpoint(tmp_path / "half.ckpt")
    stored = set(torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"])
    parameters = dict(half.named_parameters())
    assert stored & set(parameters) == {name for name, weight in parameters.items() if weight.requires_grad}
    assert len(stored & set(parameters)) < len(parameters)
    tiny.fit(*runs[2], tmp_path, 2, checkpoint=tmp_path / "half.ckpt", limit_val_batches=0)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    whole.export(tmp_path / "out")  # type: ignore[operator]  # the project's hook
    handed_over = AutoModel.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[5, 6, 7]])
    trained = {"sft": "model", "reward": "model.backbone", "cost": "model.backbone", "ppo": "roles.policy"}[stage]
    trunk = whole.get_submodule(trained)
    trunk = getattr(trunk, "model", trunk).eval()
    torch.testing.assert_close(handed_over(ids).last_hidden_state, trunk(ids).last_hidden_state, atol=1e-5, rtol=1e-4)


def test_a_moving_average_goes_with_frozen_weights(build: Build, tiny: ModuleType, tmp_path: Path) -> None:
    runs = [build("cost", tuning=Tuning("lora", rank=2)) for _ in range(3)]
    options: dict[str, Any] = {"limit_val_batches": 0}
    torch.manual_seed(0)
    tiny.fit(*runs[0], tmp_path, 2, callbacks=[MovingAverage(0.5)], **options)
    torch.manual_seed(0)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    options |= {"enable_checkpointing": True}
    tiny.fit(*runs[1], tmp_path, 2, callbacks=[MovingAverage(0.5), keep], **options)
    checkpoint = tmp_path / "kept" / "epoch=0.ckpt"
    stored = torch.load(checkpoint, weights_only=True)
    for state in ("state_dict", "current_model_state"):
        assert not [key for key in stored[state] if "base_layer" in key or "embed" in key]
    tiny.fit(*runs[2], tmp_path, 2, checkpoint=checkpoint, callbacks=[MovingAverage(0.5)], **options)
    for key, value in runs[0][0].state_dict().items():
        assert torch.equal(runs[2][0].state_dict()[key], value), key


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_runs_in_every_precision(
    build: Build, tiny: ModuleType, tmp_path: Path, stage: str, precision: str
) -> None:
    fused = {"fused": True} if stage in ("reward", "cost") else {}
    module, data = build(stage, optimizer={"lr": 1e-2} | fused)
    clip = {} if stage == "ppo" else {"gradient_clip_val": 1.0}  # which Lightning refuses for fused mixed precision
    start = Start()
    tiny.fit(module, data, tmp_path, 1, precision=precision, callbacks=[start], **clip)
    held = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    for name, weight in module.named_parameters():
        assert weight.dtype == held, name
        assert weight.isfinite().all(), name
        # Steps can drown in bfloat16, and a difference of two rewards has no bias.
        still = not weight.requires_grad or precision == "bf16-true" or (stage, name) == ("reward", "model.head.bias")
        assert still or not weight.equal(start.weights[name]), name
    module.export(tmp_path / "out")  # type: ignore[operator]  # the project's hook
    (load_policy if stage in ("sft", "ppo") else ScoreModel.from_pretrained)(tmp_path / "out")


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_the_evaluation_runs_in_every_precision(
    tiny: ModuleType, folders: Any, prompt_data: Callable[..., Any], tmp_path: Path, precision: str
) -> None:
    module = EvaluationModule(folders.inputs(), Sampler(5), {"harm": Chance(0.3)}, EvaluateSettings())
    tiny.trainer(tmp_path, precision=precision).test(module, prompt_data(), verbose=False)
    assert 0 <= module.final_metrics["eval/harm/rate"] <= 1
    assert module.final_metrics["eval/kl"] == module.final_metrics["eval/kl"]  # a number


@pytest.mark.parametrize("stage", STAGES)
def test_settings_of_the_optimiser_are_looked_at_before_anything_is_loaded(build: Build, stage: str) -> None:
    for settings, message in (
        ({"lr": 0.0}, "lr=0.0"),
        (
            {"lr": 1e-3, "fused": True, "kind": AdamW8bit()},
            r"optimizer\.fused=true: .*set (sft|reward|cost|ppo)\.\w*optimizer\.fused=false",
        ),
    ):
        with pytest.raises(UserError, match=message):
            build(stage, optimizer=settings)
