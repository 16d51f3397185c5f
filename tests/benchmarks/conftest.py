"""A tiny causal backbone that reads the toy world's words, and a pool of judged answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from csrlhf.data.toy.tokenizer import build_tokenizer
from csrlhf.evaluation.answers.records import Answer


@pytest.fixture
def toy_backbone(tmp_path: Path) -> str:
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaModel(config).save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def about() -> dict[str, Any]:
    """Where the answers of a pool come from."""
    return {
        "seed": 0, "sha256": "a" * 64, "reward": None, "cost": {},
        "policy": {"name": "p", "sha256": None, "fingerprint": None},
        "prompts": {"source": "x", "repeated": 0, "near_duplicates": 0},
        "decode": {"decode": "plain"},
    }  # fmt: skip


@pytest.fixture
def pool() -> Callable[[int, int, int], list[Answer]]:
    """``pool(flagged, unsafe, count)``: the first answers are found unsafe, the first are truly so."""

    def make(flagged: int, unsafe: int, count: int) -> list[Answer]:
        return [
            Answer(
                f"p/{i}/0", "p", str(i), 0, f"prompt {i}", "so .", cost_logits={"harm": 1.0 if i < flagged else -1.0},
                oracle={"unsafe": i < unsafe, "helped": True, "refused": False, "privacy": False},
            )
            for i in range(count)
        ]  # fmt: skip

    return make
