"""Answers by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from csrlhf.evaluation.answers.records import Answer, with_id


@pytest.fixture
def answer() -> Callable[..., Answer]:
    """``answer("ppo", 3, unsafe=True, ...)``: one answer to prompt 3."""

    def make(policy: str = "ppo", prompt: int = 0, sample: int = 0, unsafe: bool = False, **changes: Any) -> Answer:
        fields: dict[str, Any] = {
            "prompt": f"ask {prompt}",
            "response": "yes do it",
            "category": "harmful",
            "attack": "plain",
            "reward": 0.0,
            "cost_logits": {"harm": 1.0 if unsafe else -1.0},
            "violations": {"harm": float(unsafe)},
            "kl": 0.5,
        }
        return with_id(Answer("", policy, f"test-{prompt}", sample, **(fields | changes)))

    return make
