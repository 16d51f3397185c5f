"""Settings of the DataModules: how many rows at a time, and how long they may be. Imports no torch.

Groups of the config inherit from them: one subtree, such as ``reward``, is what its module and its data are built from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from csrlhf.errors import UserError
from csrlhf.settings import Settings, setting


@dataclass
class DemonstrationSettings(Settings):
    """Of ``DemonstrationDataModule``.

    Attributes:
        batch_size: dialogues per optimiser step, over all processes and micro-batches.
        accumulate: micro-batches per step.
        max_tokens: room for prompt and response; a longer response is cut (and gets no end token), unless
            ``data.too_long`` says otherwise.
    """

    key = "sft"

    batch_size: int = setting(16, ">= 1")
    accumulate: int = setting(1, ">= 1")
    max_tokens: int = 512

    def check(self, key: str) -> None:
        """Also refuses a length that has no room for a dialogue."""
        super().check(key)
        if self.max_tokens < 8:
            raise UserError(f"{key}.max_tokens={self.max_tokens}: a dialogue needs room for at least 8 tokens")


@dataclass
class BatchSettings(Settings):
    """Of the DataModules of score models.

    Attributes:
        batch_size: rows per optimiser step, over all processes and micro-batches.
        accumulate: micro-batches per optimiser step.
        eval_batch_size: rows per forward pass of validation and test.
        window: batches sorted by length among themselves (``training_batches``).
    """

    batch_size: int = setting(8, ">= 1")
    accumulate: int = setting(1, ">= 1")
    eval_batch_size: int = setting(32, ">= 1")
    window: int = setting(8, ">= 1")


class CostLoss(StrEnum):
    """What a cost model learns from."""

    semantic = auto()
    """Absolute labels (``semantic_cost_loss``)."""
    pairwise = auto()
    """Pairs of labelled responses, as in Safe-RLHF (``pairwise_cost_loss``)."""


@dataclass
class LabelledSettings(BatchSettings):
    """Of ``LabelledDataModule``; ``batch_size`` counts dialogues with either loss: the same compute, two are a pair.

    Attributes:
        loss: ``semantic`` learns from single labels, ``pairwise`` (Safe-RLHF) from pairs of labelled responses.
    """

    batch_size: int = setting(16, ">= 1")
    eval_batch_size: int = setting(64, ">= 1")
    loss: CostLoss = CostLoss.semantic

    def check(self, key: str) -> None:
        """Also refuses half a pair."""
        super().check(key)
        if self.loss == CostLoss.pairwise and self.batch_size % 2:
            raise UserError(
                f"{key}.batch_size={self.batch_size}: must be even, {key}.loss=pairwise makes pairs of dialogues"
            )


@dataclass
class PromptSettings(Settings):
    """Of ``PromptDataModule``.

    Attributes:
        iterations: of the whole run; the last epoch ends there.
        eval_every: iterations between two evaluations (one Lightning epoch).
        batch_size: responses per iteration, over all processes.
        samples_per_prompt: responses to each prompt of an iteration, which follow each other in the batch.
        num_validation: so many validation prompts, chosen by hash and with every category's share; None for all.
        num_confirmation: so many others of them for the one look, at the end, that decides which policy is handed over;
            0: no such look, and every evaluation's bound pays for all of them. None: all that ``num_validation``
            leaves, up to four times as many as it takes, where that is at least twice as many; else 0.
        max_prompt_tokens: a longer prompt is an error that names it, unless ``data.too_long`` leaves it out or cuts it.
        min_stratum: where a constraint is about some prompts (``constraints.<name>.where``), every batch has its share
            of them, and so many prompts of each kind at least. More than its share changes the mix of prompts that the
            reward is averaged over.
    """

    key = "ppo"

    iterations: int = setting(200, ">= 1")
    eval_every: int = setting(10, ">= 1")
    batch_size: int = setting(128, ">= 1")
    samples_per_prompt: int = setting(1, ">= 1")
    num_validation: int | None = setting(512, ">= 1")
    num_confirmation: int | None = setting(None, "0 or more")
    max_prompt_tokens: int = setting(256, ">= 1")
    min_stratum: int = setting(0, "0 or more")

    def check(self, key: str) -> None:
        """Also refuses a batch that is no whole number of groups, and a confirmation that has no prompts."""
        super().check(key)
        if self.num_confirmation and self.num_validation is None:
            raise UserError(
                f"{key}.num_confirmation={self.num_confirmation}: {key}.num_validation=null takes every validation "
                f"prompt; give {key}.num_validation a number, or set {key}.num_confirmation=0"
            )
        if self.batch_size % self.samples_per_prompt:
            raise UserError(
                f"{key}.samples_per_prompt={self.samples_per_prompt}: must divide {key}.batch_size={self.batch_size}, "
                "which counts responses"
            )


@dataclass
class EvaluationPrompts(Settings):
    """Of ``EvaluationData``.

    Attributes:
        prompts: files by name in place of the source's test split.
        samples_per_prompt: answers of each policy to each prompt.
        outputs: kept answers to look at again; no policy answers anything.
        batch_size: prompts at a time.
    """

    key = "evaluate"

    prompts: Any = None
    samples_per_prompt: int = setting(1, ">= 1")
    outputs: str | None = None
    batch_size: int = setting(16, ">= 1")


class SplitToJudge(StrEnum):
    """Splits that say something of a model: on the rows that it was trained on, figures do not."""

    validation = auto()
    test = auto()


@dataclass
class JudgedRowsSettings(Settings):
    """Of ``JudgedRowsDataModule``.

    Attributes:
        split: the labelled rows that are judged.
        batch_size: rows at a time.
    """

    key = "evaluate"

    split: SplitToJudge = SplitToJudge.test
    batch_size: int = setting(16, ">= 1")
