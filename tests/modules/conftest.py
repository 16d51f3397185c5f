"""A policy module over the small world, and data for it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from csrlhf.advantages import GAE
from csrlhf.constraints import Chance
from csrlhf.data.prompts import PromptDataModule
from csrlhf.modules.policy import PolicyModule
from csrlhf.modules.ppo_config import PPOConfig
from csrlhf.modules.selection import Selection
from csrlhf.penalties import Rectified
from csrlhf.rollout.sampler import Sampler


@pytest.fixture
def policy_module(folders: Any) -> Callable[..., PolicyModule]:
    """``policy_module(penalty=..., ...)``: a fresh module whose weights are not loaded yet."""

    def make(**changes: Any) -> PolicyModule:
        parts: dict[str, Any] = {
            "inputs": folders.inputs(),
            "sampler": Sampler(max_new_tokens=5),
            "penalty": Rectified(4.0, ema=0.5),
            "constraints": {"harm": Chance(0.3)},
            "advantage": GAE(),
            "ppo": PPOConfig(epochs=2, minibatch_size=4),
            "selection": Selection(on_collapse="ignore"),
            "policy_optimizer": {"lr": 1e-3},
            "critic_optimizer": {"lr": 1e-3},
            "seed": 0,
        }
        return PolicyModule(**(parts | changes))

    return make


@pytest.fixture
def prompt_data(tiny: ModuleType) -> Callable[..., PromptDataModule]:
    """``prompt_data(batch_size=...)``: eight prompts an iteration, one iteration an epoch."""

    def make(source: Any = None, **changes: Any) -> PromptDataModule:
        options: dict[str, Any] = {"batch_size": 8, "eval_batch_size": 8, "max_prompt_tokens": 16} | changes
        return PromptDataModule(source or tiny.Source(), tiny.tokenizer(), **options)

    return make
