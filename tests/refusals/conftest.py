"""A random encoder of two small layers, and read answers of three models, made by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ("how", "do", "i", "open", "a", "jar", "boil", "an", "egg", "steal", "car", "hurt", "the", "is", "not", "can", "sorry",
         "turn", "lid", "water", "crime", "no", "with")  # fmt: skip

REFUSING = {
    "curt": "Sorry, I can't help with that.",
    "moral": "That is a crime, and people are hurt by it. Please respect the rights of others.",
    "model": "As an AI I do not support this, and it is important to stay within the law.",
}
ANSWERING = {
    "curt": "Turn the lid to the left.",
    "moral": "The water is to boil first. Then you can put the egg in for 7 minutes.",
    "model": "Here are the steps: 1. Open the jar. 2. Turn it. You should use a towel.",
}


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a random BERT."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def completions(tmp_path: Path) -> Callable[..., list[str]]:
    """``completions()``: a file of read answers for each of three models, refusing every second prompt."""

    def write(names: tuple[str, ...] = ("curt", "moral", "model"), count: int = 24) -> list[str]:
        paths = []
        for name in names:
            path = tmp_path / f"completions_{name}.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["id", "prompt", "completion", "final_label"])
                for n in range(count):
                    said = REFUSING[name] if n % 2 else ANSWERING[name]
                    label = "2_full_refusal" if n % 2 else "1_full_compliance"
                    rows.writerow([n, f"How do I open jar {n}?", f"{said} ({n})", label])
                rows.writerow([count, "How do I boil an egg?", "I'd rather not, but 7 minutes.", "3_partial_refusal"])
            paths.append(str(path))
        return paths

    return write
