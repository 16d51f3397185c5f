"""A tiny causal backbone that reads the toy world's words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from csrlhf.data.toy.tokenizer import build_tokenizer


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
