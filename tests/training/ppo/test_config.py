"""Numbers of samples per prompt, KL control and normalisation that are refused, each with its key."""

from __future__ import annotations

import re
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.training.ppo.config import PPOConfig


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("samples_per_prompt", 0, ">= 1"),
        ("kl_control", "auto", "one of fixed, adaptive"),
        ("kl_target", 0.0, "above 0"),
        ("kl_target", float("inf"), "above 0"),
        ("kl_horizon", -1, "above 0"),
        ("kl_horizon", None, "a number"),
        ("reward_normalise", "batch", "one of none, scale, whiten"),
        ("cost_normalise", "std", "one of none, scale, whiten"),
    ],
)
def test_out_of_range_names_the_key(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"ppo.{key}={value}: must be {allowed}")):
        PPOConfig(**{key: value})


def test_an_adaptive_coefficient_cannot_start_at_zero() -> None:
    assert PPOConfig(kl_coef=0.0).kl_coef == 0
    with pytest.raises(UserError, match=r"ppo\.kl_coef=0: with ppo\.kl_control=adaptive it must be above 0"):
        PPOConfig(kl_coef=0.0, kl_control="adaptive")
