"""``trainer.precision`` without a trainer: which dtype computes, and which one the weights have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.generation.speaker import computing


@pytest.fixture
def speaker() -> Any:
    return SimpleNamespace(policy=torch.nn.Linear(2, 2), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("precision", "weights", "result"),
    [
        ("32-true", torch.float32, torch.float32),
        ("bf16-true", torch.bfloat16, torch.bfloat16),
        ("64-true", torch.float64, torch.float64),
        ("bf16-mixed", torch.float32, torch.bfloat16),
    ],
)
def test_dtypes(speaker: Any, precision: str, weights: torch.dtype, result: torch.dtype) -> None:
    with computing(precision, speaker):
        assert speaker.policy.weight.dtype == weights
        assert speaker.policy(torch.ones(1, 2, dtype=weights)).dtype == result


def test_another_word(speaker: Any) -> None:
    with (
        pytest.raises(UserError, match=r"trainer\.precision=16-true: stage=decode takes 32-true, bf16-true"),
        computing("16-true", speaker),
    ):
        pass
