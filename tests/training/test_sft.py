"""Supervised fine-tuning: the loss by hand, order and resume, the folder it leaves."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from csrlhf.data.demonstrations import DemonstrationBatch, DemonstrationDataModule
from csrlhf.errors import UserError
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.policy import PolicySpec
from csrlhf.training.settings import OptimizerSettings, ScheduleKind, ScheduleSettings, SFTSettings
from csrlhf.training.sft import SFTModule
from csrlhf.training.step import response_loss

SETTINGS = SFTSettings(
    batch_size=4,
    max_tokens=16,
    optimizer=OptimizerSettings(lr=0.02),
    schedule=ScheduleSettings(ScheduleKind.constant, 0.0),
)


def make(tiny: ModuleType, **spec: Any) -> SFTModule:
    spec = spec or {"architecture": tiny.ARCHITECTURE, "tokenizer": tiny.tokenizer()}
    return SFTModule(PolicySpec(**spec), SETTINGS)


def data(tiny: ModuleType) -> DemonstrationDataModule:
    return DemonstrationDataModule(tiny.Source(), tiny.tokenizer(), SETTINGS)


def test_loss_is_the_mean_over_response_tokens(tiny: ModuleType) -> None:
    module = make(tiny)
    module.configure_model()
    ids = torch.tensor([[3, 5, 4, 6, 2], [3, 4, 7, 0, 0]])
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    response = torch.tensor([[False, False, False, True, True], [False, False, True, False, False]])
    loss, accuracy = response_loss(module.model, DemonstrationBatch(ids, mask, response))
    logprobs = [
        module.model(input_ids=row[m].unsqueeze(0)).logits[0].log_softmax(-1) for row, m in zip(ids, mask, strict=True)
    ]
    taken = [logprobs[0][2, 6], logprobs[0][3, 2], logprobs[1][1, 7]]
    torch.testing.assert_close(loss, -torch.stack(taken).mean())
    hits = [logprobs[0][2].argmax() == 6, logprobs[0][3].argmax() == 2, logprobs[1][1].argmax() == 7]
    assert accuracy.item() == pytest.approx(sum(map(float, hits)) / 3)


def test_training_lowers_the_loss_on_held_out_demonstrations(tiny: ModuleType, tmp_path: Path) -> None:
    losses = []
    module = make(tiny)
    for epochs in (1, 6):
        metrics = tiny.fit(module, data(tiny), tmp_path, epochs).callback_metrics
        losses.append(metrics["validation/loss"].item())
    assert losses[1] < 0.8 * losses[0]
    assert 0 <= metrics["validation/token_accuracy"].item() <= 1


def test_the_model_as_it_came_is_evaluated_once(tiny: ModuleType, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    class Losses(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append((trainer.global_step, float(trainer.callback_metrics["validation/loss"])))

    untrained = tiny.trainer(tmp_path).validate(make(tiny), data(tiny), verbose=False)[0]["validation/loss"]
    begun = tiny.fit(make(tiny), data(tiny), tmp_path, 1, callbacks=[Losses()])
    assert [step for step, _ in seen] == [0, begun.global_step]
    assert seen[0][1] == pytest.approx(untrained)
    begun.save_checkpoint(tmp_path / "half.ckpt")
    seen.clear()
    tiny.fit(make(tiny), data(tiny), tmp_path, 2, checkpoint=tmp_path / "half.ckpt", callbacks=[Losses()])
    assert [step for step, _ in seen] == [2 * begun.global_step]


def test_resuming_continues_bit_for_bit(tiny: ModuleType, tmp_path: Path) -> None:
    whole, second = make(tiny), make(tiny)
    tiny.fit(whole, data(tiny), tmp_path, 2)
    begun = tiny.fit(make(tiny), data(tiny), tmp_path, 1)
    begun.save_checkpoint(tmp_path / "half.ckpt")
    tiny.fit(second, data(tiny), tmp_path, 2, checkpoint=tmp_path / "half.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_random_weights_depend_on_the_seed_alone(tiny: ModuleType) -> None:
    spec = {"architecture": tiny.ARCHITECTURE, "tokenizer": tiny.tokenizer()}
    first = PolicySpec(**spec).build().state_dict()
    torch.rand(7)
    again, other = PolicySpec(**spec).build().state_dict(), PolicySpec(**spec, seed=1).build().state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_export_can_be_loaded_as_a_policy(tiny: ModuleType, tmp_path: Path, folders: Any) -> None:
    module = make(tiny, path=folders.sft)
    module.configure_model()
    module.export(tmp_path)
    loaded = load_policy(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in module.model.state_dict().items())
    assert load_tokenizer(tmp_path).get_vocab() == module.tokenizer.get_vocab()


def test_a_loss_that_is_not_finite_stops(tiny: ModuleType, tmp_path: Path) -> None:
    module = make(tiny)
    module.configure_model()
    torch.nn.init.constant_(module.model.lm_head.weight, torch.nan)
    with pytest.raises(UserError, match="train/loss is NaN at step 0"):
        tiny.fit(module, data(tiny), tmp_path, 1)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "either path .* or architecture"),
        ({"path": "x", "architecture": {}}, "either path .* or architecture"),
        ({"architecture": {"model_type": "llama"}}, r"model\.policy\.tokenizer"),
    ],
)
def test_a_policy_has_one_origin(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        PolicySpec(**spec)
