"""Tiny random backbones of both kinds, and tokenizers that fit them, built in a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModel, BertConfig, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<eos>", *"abcdefghijklmnopqrstuvwxyz"]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def tiny_trunk() -> Callable[[str], PreTrainedModel]:
    """``tiny_trunk("llama")`` (causal) or ``tiny_trunk("bert")`` (encoder), the same weights at every call."""

    def make(kind: str) -> PreTrainedModel:
        torch.manual_seed(0)
        if kind == "llama":
            trunk = AutoModel.from_config(LlamaConfig(vocab_size=len(WORDS), **SIZES))
        else:
            trunk = AutoModel.from_config(BertConfig(vocab_size=len(WORDS), **SIZES), add_pooling_layer=False)
        return trunk.eval()

    return make


@pytest.fixture
def letter_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """One id per letter; with the special tokens of a causal model (``llama``) or of an encoder (``bert``)."""

    def make(kind: str) -> PreTrainedTokenizerFast:
        tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
        special = {"eos_token": "<eos>"} if kind == "llama" else {"cls_token": "[CLS]", "sep_token": "[SEP]"}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", **special)

    return make
