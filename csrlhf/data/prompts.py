"""Prompts for PPO and evaluation, in an order that is a pure function of (seed, iteration).

No sampler state and no loader worker takes part, so a resumed run sees the prompts that it would have seen.
Each rank takes its slice of the global batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from csrlhf.constraints.where import Selector
from csrlhf.data.batching import check_rows, ranks_of
from csrlhf.data.choice import for_confirmation, representative
from csrlhf.data.encoding import encode_prompt, pad, pad_id
from csrlhf.data.intake import NO_LIMIT, Intake, Room, TooLong, shortened
from csrlhf.data.settings import PromptSettings
from csrlhf.data.source import DataSource, Split
from csrlhf.data.strata import Strata
from csrlhf.errors import UserError
from csrlhf.ops.noise import permutation
from csrlhf.types import PromptBatch, PromptRow

Ids = Sequence[int] | NDArray[np.int32]
"""A prompt as token ids; kept ones take four bytes each."""


def encode_batch(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[PromptRow],
    index: Iterable[int],
    max_tokens: int,
    known: Mapping[int, Ids] | None = None,
) -> PromptBatch:
    """Left-padded prompts with their global sample indices.

    Args:
        tokenizer: the policy's.
        rows: the prompts.
        index: global sample index of each.
        max_tokens: a longer prompt is an error.
        known: ids of rows that were encoded before, by ``id(row)``.
    """
    known = known or {}
    ids: list[Any] = [
        known[id(row)] if id(row) in known else encode_prompt(tokenizer, row.prompt, max_tokens) for row in rows
    ]
    input_ids_BP, mask_BP = pad(ids, pad_id(tokenizer), side="left")
    return PromptBatch(input_ids_BP, mask_BP, torch.tensor(list(index)), tuple(rows))


class _Iterations(Dataset):
    """Item ``j`` is this process's share of the batch of iteration ``start + j``."""

    def __init__(self, module: PromptDataModule, start: int, count: int, rank: int, num_ranks: int) -> None:
        self.module, self.start, self.count = module, start, count
        self.rank, self.num_ranks = rank, num_ranks

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> PromptBatch:
        if item >= self.count:
            raise IndexError(item)
        return self.module.batch(self.start + item, self.rank, self.num_ranks)


class _Chunks(Dataset):
    """The rows of an evaluation split in order, a process taking every ``num_ranks``-th, some at a time."""

    def __init__(self, module: PromptDataModule, rows: list[PromptRow], rank: int, num_ranks: int) -> None:
        check_rows(len(rows), num_ranks)
        self.module, self.rows = module, rows
        index = list(range(rank, len(rows), num_ranks))
        size = module.eval_batch_size
        self.chunks = [index[start : start + size] for start in range(0, len(index), size)]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, item: int) -> PromptBatch:
        index = self.chunks[item]
        rows = [self.rows[row] for row in index]
        return self.module.encoded(rows, index)


class PromptDataModule(LightningDataModule):
    """Batches of prompts: one per PPO iteration for training, fixed chunks for validation, confirmation and test."""

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: PromptSettings,
        eval_batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        """Build the module; rows are read in ``setup``.

        Args:
            source: offers ``prompts(split)``.
            tokenizer: the policy's.
            settings: sizes and lengths.
            eval_batch_size: prompts per evaluation chunk.
            seed: of the order of prompts.
        """
        super().__init__()
        self.source, self.tokenizer, self.seed = source, tokenizer, seed
        self.samples_per_prompt = settings.samples_per_prompt
        self.batch_size, self.iterations = settings.batch_size, settings.iterations
        self.iterations_per_epoch = settings.eval_every
        self.eval_batch_size, self.max_prompt_tokens = eval_batch_size, settings.max_prompt_tokens
        self.num_validation, self.num_confirmation = settings.num_validation, settings.num_confirmation
        self.min_stratum = settings.min_stratum
        self.strata: Strata | None = None
        self.rows: dict[str, list[PromptRow]] = {}
        self.intake = Intake(source)
        self.longest: tuple[int, PromptRow] | None = None
        self._ids: dict[int, Ids] = {}
        self._measured: list[PromptRow] = []  # keeps the rows alive whose identities stand in _ids

    def setup(self, stage: str) -> None:
        """Read the rows that this phase needs, each of which fits.

        Raises:
            UserError: a prompt is too long, or its turns are none for the chat template.
        """
        wanted: Mapping[str, tuple[Split, ...]] = {"fit": ("train", "validation"), "test": ("test",)}
        for split in wanted.get(stage, ("validation",)):
            if split not in self.rows:
                self.rows[split] = self.fitting(split, self.source.prompts(split))
        if "validation" in self.rows and "confirmation" not in self.rows:
            rows = self.rows["validation"]
            self.rows["validation"] = representative(rows, self.num_validation)
            self.rows["confirmation"] = for_confirmation(rows, self.rows["validation"], self.num_confirmation)

    def fitting(self, split: Split, rows: Sequence[PromptRow]) -> list[PromptRow]:
        """The prompts that the policy has room for (``data.too_long``); the longest of all is kept in ``longest``.

        Raises:
            UserError: one is too long and not to be left out or cut.
        """

        def measured(row: PromptRow) -> tuple[tuple[PromptRow, list[int]], int]:
            ids = encode_prompt(self.tokenizer, row.prompt, NO_LIMIT)
            return (row, ids), len(ids)

        def cut(row: PromptRow) -> tuple[PromptRow, list[int]]:
            return measured(replace(row, prompt=shortened(self.tokenizer, row.prompt, self.max_prompt_tokens)))[0]

        room = Room(self.max_prompt_tokens, "ppo.max_prompt_tokens", unset=TooLong.error)
        taken = self.intake.take(split, "prompts", rows, room, measured, cut)
        for row, ids in taken:
            if self.longest is None or len(ids) > self.longest[0]:
                self.longest = (len(ids), row)
            self._ids[id(row)] = np.asarray(ids, dtype=np.int32)
        kept = [row for row, _ in taken]
        self._measured += kept
        return kept

    def stratify(self, kinds: Mapping[str, Selector]) -> None:
        """Give every batch its share of the prompts that some constraints are about; once the rows are read.

        Args:
            kinds: by constraint, which prompts those are (``constraints.<name>.where``); without any the order stays.

        Raises:
            UserError: one selects no training prompt, or ``ppo.min_stratum`` leaves the others no room.
        """
        per_batch = self.batch_size // self.samples_per_prompt
        self.strata = Strata.of(kinds, self.rows["train"], per_batch, self.min_stratum, self.seed) if kinds else None

    def batch(self, iteration: int, rank: int = 0, num_ranks: int = 1) -> PromptBatch:
        """A process's share of the batch of ``iteration``: consecutive draws from endless shuffled passes.

        The samples of one prompt follow each other; their noise differs, since it belongs to the sample.
        """
        rows = self.rows["train"]
        share = self.batch_size // num_ranks
        index = range(rank * share, (rank + 1) * share)
        if self.strata is not None:
            drawn = self.strata.batch(iteration)
            chosen = [rows[drawn[position // self.samples_per_prompt]] for position in index]
            return self.encoded(chosen, index)
        orders: dict[int, list[int]] = {}
        chosen = []
        for position in index:
            prompt = (iteration * self.batch_size + position) // self.samples_per_prompt
            passes, offset = divmod(prompt, len(rows))
            if passes not in orders:
                orders[passes] = permutation(self.seed, passes, len(rows)).tolist()
            chosen.append(rows[orders[passes][offset]])
        return self.encoded(chosen, index)

    def encoded(self, rows: Sequence[PromptRow], index: Iterable[int]) -> PromptBatch:
        """Prompts as a batch; those that were measured in ``setup`` are not encoded again."""
        return encode_batch(self.tokenizer, rows, index, self.max_prompt_tokens, self._ids)

    def train_dataloader(self) -> DataLoader:
        """The iterations of the current epoch (the trainer asks again at each epoch)."""
        rank, num_ranks = ranks_of(self.trainer)
        if self.batch_size % num_ranks:
            raise UserError(f"ppo.batch_size={self.batch_size} must be a multiple of the {num_ranks} processes")
        start = 0  # and with overfit_batches in every epoch
        if self.trainer is not None and not self.trainer.overfit_batches:  # type: ignore[attr-defined]  # set in a connector
            start = self.trainer.current_epoch * self.iterations_per_epoch
        count = min(self.iterations_per_epoch, self.iterations - start)
        iterations = _Iterations(self, start, count, rank, num_ranks)
        return DataLoader(iterations, batch_size=None, shuffle=False)

    def val_dataloader(self) -> DataLoader:
        """The validation prompts, in order."""
        return DataLoader(_Chunks(self, self.rows["validation"], *ranks_of(self.trainer)), batch_size=None)

    def confirmation_dataloader(self) -> DataLoader:
        """The prompts of the look that decides (``ppo.num_confirmation``), in order; Lightning never asks for them."""
        return DataLoader(_Chunks(self, self.rows["confirmation"], *ranks_of(self.trainer)), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        """The test prompts, in order."""
        return DataLoader(_Chunks(self, self.rows["test"], *ranks_of(self.trainer)), batch_size=None)
