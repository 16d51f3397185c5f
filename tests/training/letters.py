"""A small task for the cost and the reward stage: a response is unsafe where it holds an x."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from csrlhf.data.pairs import pair_by_label
from csrlhf.training.settings import OptimizerSettings, ScheduleKind, ScheduleSettings
from csrlhf.types import CostPairRow, LabelledRow, PreferenceRow

LETTERS = "abcdefgh"
SETTINGS: dict[str, Any] = {
    "batch_size": 4, "optimizer": OptimizerSettings(lr=1e-2), "schedule": ScheduleSettings(ScheduleKind.linear, 0.1),
}  # fmt: skip


class Letters:
    """Unsafe where the response holds an x; two constraints where asked (y is the second)."""

    name = "letters"
    oracle = None

    def __init__(self, constraints: tuple[str, ...] = ("harm",), num_prompts: int = 3) -> None:
        self.constraints, self.num_prompts = constraints, num_prompts

    def labelled(self, split: str) -> list[LabelledRow]:
        start = {"train": 0, "validation": 2, "test": 4}[split]
        responses = [f"{a} {b} {c}" for a in LETTERS[start : start + 4] for b in "xa" for c in "yb"]
        return [
            LabelledRow(
                f"{split[0]} {i % self.num_prompts}", r, (float("x" in r), float("y" in r))[: len(self.constraints)]
            )
            for i, r in enumerate(responses)
        ]

    def preferences(self, split: str) -> list[PreferenceRow]:
        rows = [row for row in self.labelled(split) if row.unsafe[0]]
        return [PreferenceRow(row.prompt, row.response.replace("x", "a"), row.response) for row in rows]


class LetterPairs(Letters):
    """Each response with an x meets the same one without."""

    def cost_pairs(self, split: str) -> list[CostPairRow]:
        rows = [row for row in self.labelled(split) if row.unsafe[0]]
        safer = [LabelledRow(r.prompt, r.response.replace("x", "a"), (0.0, *r.unsafe[1:])) for r in rows]
        return [pair_by_label(first, second) for first, second in zip(safer, rows, strict=True)]


class SameSplit(Letters):
    """The validation rows again as the test split."""

    def labelled(self, split: str) -> list[LabelledRow]:
        return super().labelled({"test": "validation"}.get(split, split))


class Margins(SameSplit):
    """Every pair asks for a margin of its own."""

    def preferences(self, split: str) -> list[PreferenceRow]:
        return [replace(row, margin=0.25 * place) for place, row in enumerate(super().preferences(split))]


def backbone(folder: Path) -> str:
    """Where a tokenizer of letters and a random model of one layer lie."""
    words = ["<pad>", "<unk>", "<eos>", *LETTERS, *"xytv012"]
    letters = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    letters.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaModel(config).save_pretrained(folder)
    return str(folder)


def trainer(**options: Any) -> lightning.Trainer:
    """Twenty epochs on the CPU, quietly."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"max_epochs": 20} | options
    return lightning.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **options)
