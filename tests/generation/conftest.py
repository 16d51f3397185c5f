"""A decoder over tiny models."""

from __future__ import annotations

from typing import Any

import pytest

from csrlhf.generation import Decoder

PROMPTS = ["a", "b c d", "e f g h i", "red", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "yes"},
           {"role": "user", "content": "b"}]]  # fmt: skip


@pytest.fixture(scope="session")
def prompts() -> list[Any]:
    """Four texts and a conversation."""
    return PROMPTS


@pytest.fixture(scope="package")
def make(folders: Any) -> Any:
    """``make(n=4)``: a decoder in float64, in which batches change nothing at all."""

    def call(
        policy: str = folders.ppo, reward: Any = folders.reward, cost: Any = folders.cost, **options: Any
    ) -> Decoder:
        decoder = Decoder(policy, reward, cost, **({"max_new_tokens": 6, "device": "cpu"} | options))
        for model in (decoder.speaker.policy, decoder.judges.reward, decoder.judges.cost):
            if model is not None:
                model.double()
        return decoder

    return call


@pytest.fixture(scope="package")
def threshold(make: Any) -> float:
    """A threshold that about half of the candidates pass."""
    costs = [one.costs["harm"] for tries in make(n=8).candidates(PROMPTS) for one in tries]
    return sorted(costs)[len(costs) // 2]
