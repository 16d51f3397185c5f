"""Tiny random models of many architectures, and tokenizers that fit them, built in a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.data.chat_templates import PLAIN

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<eos>", *"abcdefghijklmnopqrstuvwxyz"]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
GROUPED = SIZES | {"num_key_value_heads": 1, "max_position_embeddings": 64}
CAUSAL: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "qwen2": GROUPED,
    "mistral": GROUPED | {"sliding_window": 6},
    "gemma": GROUPED | {"head_dim": 8},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},  # no position_ids: it counts by the mask
}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "deberta-v2": SIZES | {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
    "roberta": SIZES | {"max_position_embeddings": 66, "pad_token_id": 1},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "albert": SIZES | {"embedding_size": 8},
    "electra": SIZES | {"embedding_size": 8},
}


def tiny_config(kind: str, **changes: Any) -> Any:
    """The configuration of an architecture in small; weights are drawn wide, so that outputs differ visibly."""
    sizes = (CAUSAL | ENCODERS)[kind]
    wide = {"initializer_range": 0.3} | ({"eos_token_id": WORDS.index("<eos>")} if kind in CAUSAL else {})
    return AutoConfig.for_model(kind, vocab_size=len(WORDS), **(wide | sizes | changes))


@pytest.fixture
def tiny_trunk() -> Callable[[str], PreTrainedModel]:
    """``tiny_trunk("llama")``: a trunk without head and pooler, the same weights at every call."""

    def make(kind: str) -> PreTrainedModel:
        torch.manual_seed(0)
        trunk = AutoModel.from_config(tiny_config(kind))
        if getattr(trunk, "pooler", None) is not None:
            trunk.pooler = None
        return trunk.eval()

    return make


@pytest.fixture
def tiny_policy() -> Callable[[str], PreTrainedModel]:
    """``tiny_policy("gpt2")``: a causal model with its language head, the same weights at every call."""

    def make(kind: str) -> PreTrainedModel:
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(tiny_config(kind)).eval()

    return make


@pytest.fixture
def letter_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """One id per letter; with the special tokens that suit the kind of model."""

    def make(kind: str) -> PreTrainedTokenizerFast:
        tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
        causal = {"eos_token": "<eos>", "chat_template": PLAIN}  # no roles: letters are all it can spell
        special = causal if kind in CAUSAL else {"cls_token": "[CLS]", "sep_token": "[SEP]"}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", **special)

    return make
