"""Options of the update through a whole training step: what is logged, what is refused before anything is sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.data.source import MissingRowsError
from csrlhf.errors import UserError
from csrlhf.penalties.base import Penalty, Weights
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.settings import OptimizerSettings

Make = Callable[..., Any]


class Again(Penalty):
    """A gate that is asked again in each minibatch."""

    recheck = True

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        weight_K = self.multiplier_K * (violation_K > 0)
        return Weights(torch.ones_like(weight_K[0]), weight_K, normaliser=1.0 + self.multiplier_K.sum())


def test_all_options_are_logged_and_train(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    config = PPOConfig(epochs=3, minibatch_size=4, ptx_coef=0.5, target_kl=1e-3, entropy_coef=0.01, critic_warmup=1)
    module = policy_module(penalty=Again(4.0), ppo=config, policy_optimizer=OptimizerSettings(lr=1e-2))
    metrics = tiny.fit(module, prompt_data(), tmp_path, 2).callback_metrics
    assert 0 < metrics["policy/epochs"].item() < 3
    assert metrics["policy/ptx_loss"].item() > 0
    assert 0 <= metrics["penalty/minibatch_weight"].item() <= 4
    violation = metrics["constraint/harm/violation"].item()
    assert 0 < abs(metrics["penalty/minibatch_violation"].item() - violation) < 1


def test_warm_up_iterations_say_nothing_of_the_policy_s_steps(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    config = PPOConfig(minibatch_size=4, ptx_coef=0.5, target_kl=1e-3, critic_warmup=1)
    module = policy_module(penalty=Again(4.0), ppo=config)
    metrics = tiny.fit(module, prompt_data(), tmp_path, 1).callback_metrics
    assert not {"policy/epochs", "policy/ptx_loss", "policy/loss", "penalty/minibatch_weight"} & metrics.keys()
    assert "critic/loss" in metrics


def test_ptx_draws_the_likeliness_of_demonstrations_up(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    losses = []
    for coef in (1e-9, 1.0):
        config = PPOConfig(epochs=2, minibatch_size=4, ptx_coef=coef, ptx_batch_size=12, kl_coef=0.0, critic_warmup=0)
        module = policy_module(ppo=config, policy_optimizer=OptimizerSettings(lr=3e-3))
        metrics = tiny.fit(module, prompt_data(), tmp_path, 6, limit_val_batches=0).callback_metrics
        losses.append(metrics["policy/ptx_loss"].item())
    assert losses[1] < 0.7 * losses[0]


def test_a_source_without_demonstrations_is_refused_before_anything_is_sampled(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    class Without(tiny.Source):
        def demonstrations(self, split: str) -> list[Any]:
            raise MissingRowsError("data.train has no responses")

    module = policy_module(ppo=PPOConfig(minibatch_size=4, ptx_coef=0.5, critic_warmup=0))
    with pytest.raises(UserError, match=r"^ppo\.ptx_coef: the PTX loss needs demonstrations \(data\.train has no"):
        tiny.fit(module, prompt_data(source=Without()), tmp_path, 1)
    assert int(module.iteration) == 0
    tiny.fit(policy_module(), prompt_data(source=Without()), tmp_path, 1)  # nobody asks for them


def test_resuming_continues_with_the_demonstrations_it_would_have_seen(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    config = PPOConfig(minibatch_size=4, ptx_coef=0.5, ptx_batch_size=5, target_kl=0.05, critic_warmup=0)
    whole, second = policy_module(ppo=config), policy_module(ppo=config)
    tiny.fit(whole, prompt_data(), tmp_path, 2)
    tiny.fit(policy_module(ppo=config), prompt_data(), tmp_path, 1).save_checkpoint(tmp_path / "half.ckpt")
    tiny.fit(second, prompt_data(), tmp_path, 2, checkpoint=tmp_path / "half.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
