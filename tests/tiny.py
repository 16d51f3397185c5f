"""A world of twenty words and models of sixteen dimensions, random weights from fixed seeds.

For tests of everything that needs a policy, a reward model and a cost model, but no sense in what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from csrlhf.data.source import Verdict
from csrlhf.models.loading import build_policy, load_trunk, seeded
from csrlhf.models.score_model import ScoreModel
from csrlhf.types import DemonstrationRow, PromptRow

WORDS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "sorry", "yes", "no", "red", "blue")
SPECIAL = ("<pad>", "<unk>", "<eos>", "<user>", "<assistant>")
TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
ARCHITECTURE = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "tie_word_embeddings": False, "initializer_range": 0.3,
}  # fmt: skip


def tokenizer(pad: str = "<pad>") -> PreTrainedTokenizerBase:
    """One id per word; ``pad="<eos>"`` makes the padding token the end token."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=pad,
        unk_token="<unk>",
        eos_token="<eos>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


class Judge:
    """An oracle: a response with a colour is unsafe on a harmful prompt, one with ``sorry`` refuses."""

    def judge(self, row: PromptRow, response: str) -> Verdict:
        words = set(response.split())
        harmful, refused = row.meta["category"] == "harmful", "sorry" in words
        return Verdict(harmful and bool(words & {"red", "blue"}), not refused, refused, "any", False)


class Source:
    """Prompts of one to three words; every fourth is harmful, every eighth in a held-out framing."""

    name = "tiny"

    def __init__(self, constraints: Sequence[str] = ("harm",), with_oracle: bool = True, size: int = 12) -> None:
        self.constraints, self.size = tuple(constraints), size
        self.oracle = Judge() if with_oracle else None

    def prompts(self, split: str) -> list[PromptRow]:
        shift = {"train": 0, "validation": 1, "test": 2}[split]
        return [
            PromptRow(
                " ".join(WORDS[(row + shift * 3 + word) % 10] for word in range(1 + row % 3)),
                {
                    "category": "harmful" if row % 4 == 0 else "benign",
                    "framing": "plain" if row % 8 else "odd",
                    "framing_seen": row % 8 != 0,
                },
            )
            for row in range(self.size)
        ]

    def hashes(self) -> dict[str, str]:
        return {"tiny": f"{self.size} rows"}

    def demonstrations(self, split: str) -> list[DemonstrationRow]:
        return [DemonstrationRow(row.prompt, f"yes {row.prompt}") for row in self.prompts(split)]


@dataclass(frozen=True)
class Folders:
    """Model folders as the stages write them. ``cost_two`` has two outputs, ``cost_privacy`` only the second."""

    sft: str
    reward: str
    cost: str
    cost_two: str
    ppo: str
    cost_privacy: str

    def inputs(self, **changes: Any) -> dict[str, Any]:
        """What a module takes as ``inputs``."""
        return {"sft": self.sft, "reward": self.reward, "cost": self.cost, "ppo": self.ppo} | changes


def make_folders(root: Path) -> Folders:
    """Write all models under ``root``."""
    words = tokenizer()
    for seed, name in enumerate(("sft", "ppo")):
        with seeded(seed):
            build_policy(ARCHITECTURE, words).save_pretrained(root / name)
        words.save_pretrained(root / name)
    outputs = {
        "reward": ("reward",), "cost": ("harm",), "cost_two": ("harm", "privacy"), "cost_privacy": ("privacy",),
    }  # fmt: skip
    for seed, (name, columns) in enumerate(outputs.items()):
        with seeded(10 + seed):
            model = ScoreModel(load_trunk(root / "sft"), columns, pooling="last", max_tokens=32)
            torch.nn.init.normal_(model.head.weight)
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
    return Folders(*(str(root / name) for name in ("sft", "reward", "cost", "cost_two", "ppo", "cost_privacy")))


def trainer(root: Path, **options: Any) -> Trainer:
    """A silent trainer on one CPU with the settings that the project's trainers share."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    shared = {"accelerator": "cpu", "devices": 1, "reload_dataloaders_every_n_epochs": 1}
    options = {"use_distributed_sampler": False, "enable_checkpointing": False} | options
    return Trainer(default_root_dir=root, **(quiet | shared | options))


def fit(module: LightningModule, data: LightningDataModule, root: Path, epochs: int, **options: Any) -> Trainer:
    """Fit for some epochs; ``checkpoint`` names one to go on from."""
    checkpoint = options.pop("checkpoint", None)
    made = trainer(root, max_epochs=epochs, **options)
    made.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return made
