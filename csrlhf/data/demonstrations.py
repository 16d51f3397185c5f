"""Demonstrations for supervised fine-tuning: prompt and response as ids, the loss on the response alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from csrlhf.data.batching import (
    Share,
    batch_loader,
    check_rows,
    check_shares,
    ranks_of,
    require_training,
    shares,
    training_loader,
)
from csrlhf.data.encoding import encode_prompt, encode_response, pad, pad_id, trained_response
from csrlhf.data.intake import NO_LIMIT, Intake, Room, TooLong, shortened
from csrlhf.data.settings import DemonstrationSettings
from csrlhf.data.source import DataSource, MissingRowsError, Split
from csrlhf.errors import UserError
from csrlhf.ops.noise import permutation
from csrlhf.types import DemonstrationRow


@dataclass
class DemonstrationBatch:
    """Right-padded dialogues.

    Attributes:
        input_ids_BS: prompt and response ids, the end token last.
        mask_BS: True on real tokens.
        response_mask_BS: True on response tokens (the end token included): where the loss is taken.
        weight: of the mean loss over these rows in that of the whole batch (``Share.weight``).
        is_last: True where the optimiser steps after these rows.
    """

    input_ids_BS: Tensor
    mask_BS: Tensor
    response_mask_BS: Tensor
    weight: float = 1.0
    is_last: bool = True


Encoded = tuple[list[int], list[int]]
"""Ids of a prompt and of the response to it."""


def encode_demonstration(tokenizer: PreTrainedTokenizerBase, row: DemonstrationRow, max_tokens: int) -> Encoded:
    """A row as ids; a response longer than what the prompt leaves of ``max_tokens`` is cut (and gets no end token)."""
    prompt_ids = encode_prompt(tokenizer, row.prompt, max_tokens - 1)
    response = trained_response(tokenizer, row.response)
    return prompt_ids, encode_response(tokenizer, response)[: max_tokens - len(prompt_ids)]


def encode_demonstrations(
    tokenizer: PreTrainedTokenizerBase, intake: Intake, split: Split, rows: Sequence[DemonstrationRow], room: Room
) -> list[Encoded]:
    """All rows as ids, each within the room (``data.too_long``).

    Where the key is null a long response is cut, and a prompt that leaves it no room is an error. With ``truncate``
    such a prompt keeps its end: what the response leaves of the room, and never less than half of it.

    Raises:
        UserError: a row is too long and not to be left out or cut, or none is left.
    """

    def whole(row: DemonstrationRow) -> tuple[Encoded, int]:
        encoded = encode_demonstration(tokenizer, row, NO_LIMIT)
        return encoded, sum(map(len, encoded))

    def cut(row: DemonstrationRow) -> Encoded:
        if intake.too_long is TooLong.truncate:
            prompt, response = whole(row)[0]
            left = max(room.tokens - len(response), room.tokens // 2)
            if len(prompt) > left:
                row = replace(row, prompt=shortened(tokenizer, row.prompt, left))
        return encode_demonstration(tokenizer, row, room.tokens)

    return intake.take(split, "demonstrations", rows, room, whole, cut)


def collate(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Encoded]) -> DemonstrationBatch:
    """Rows as one batch, padded on the right."""
    input_ids_BS, mask_BS = pad([prompt + response for prompt, response in rows], pad_id(tokenizer))
    prompt_length_B1 = torch.tensor([len(prompt) for prompt, _ in rows]).unsqueeze(-1)
    is_response_BS = torch.arange(input_ids_BS.shape[1]) >= prompt_length_B1
    return DemonstrationBatch(input_ids_BS, mask_BS, mask_BS & is_response_BS)


def collate_share(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Encoded], share: Share) -> DemonstrationBatch:
    """A share of a batch, with its weight in the batch's mean over response tokens."""
    batch = collate(tokenizer, [rows[row] for row in share.rows])
    # A token without one before it is not predicted: the first of a dialogue that has no prompt.
    weight = share.weight(lambda row: len(rows[row][1]) - (not rows[row][0]))
    return replace(batch, weight=weight, is_last=share.is_last)


class DemonstrationDataModule(LightningDataModule):
    """Batches of demonstrations; the order of rows is a pure function of (seed, epoch)."""

    def __init__(
        self, source: DataSource, tokenizer: PreTrainedTokenizerBase, settings: DemonstrationSettings, seed: int = 0
    ) -> None:
        """Build the module.

        Args:
            source: offers ``demonstrations(split)``.
            tokenizer: the policy's.
            settings: sizes and lengths.
            seed: of the order.
        """
        super().__init__()
        self.source, self.tokenizer, self.seed = source, tokenizer, seed
        self.batch_size, self.accumulate, self.max_tokens = (
            settings.batch_size,
            settings.accumulate,
            settings.max_tokens,
        )
        self.encoded: dict[str, list[Encoded]] = {}
        self.intake = Intake(source)

    def setup(self, stage: str) -> None:
        """Encode both splits once.

        Raises:
            UserError: a row does not fit, see :func:`encode_demonstrations`.
        """
        if stage == "fit":
            require_training(self.trainer, "sft", steps_key="trainer.max_steps")
        splits: tuple[Split, ...] = ("train", "validation")
        for split in splits:
            if split not in self.encoded:
                rows, room = self.source.demonstrations(split), Room(self.max_tokens, "sft.max_tokens")
                self.encoded[split] = encode_demonstrations(self.tokenizer, self.intake, split, rows, room)

    def train_dataloader(self) -> DataLoader:
        """Shuffled, this process's share; the trainer asks again at each epoch. A short last batch is left out."""
        rows = self.encoded["train"]
        _, num_ranks = ranks_of(self.trainer)
        size = min(self.batch_size, len(rows))
        check_shares("sft", size, num_ranks, self.accumulate)

        def batches_of(epoch: int) -> list[list[int]]:
            order = permutation(self.seed, epoch, len(rows)).tolist()
            return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]

        def collate_rows(share: Share) -> DemonstrationBatch:
            return collate_share(self.tokenizer, rows, share)

        return training_loader(collate_rows, batches_of, self.trainer, self.accumulate)

    def val_dataloader(self) -> DataLoader:
        """In order, this process's rows."""
        rank, num_ranks = ranks_of(self.trainer)
        encoded = self.encoded["validation"]
        rows = list(range(len(encoded)))[rank::num_ranks]
        check_rows(len(encoded), num_ranks)
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        return batch_loader(lambda batch: collate(self.tokenizer, [encoded[row] for row in batch]), batches)


# Demonstrations beside PPO (PTX): the rows of each minibatch, a pure function of (seed, place in the run).
#
# No sampler state takes part, so a resumed run sees the rows that it would have seen, on any number of processes.

_PTX = 0x0917E5
"""Turns a seed into that of this order: prompts of the same run follow one of their own."""


class PTXData:
    """The training split's demonstrations, encoded as the SFT stage encodes them."""

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        max_tokens: int,
        seed: int,
        intake: Intake | None = None,
    ) -> None:
        """Read and encode the rows.

        Args:
            source: offers ``demonstrations("train")``.
            tokenizer: the policy's.
            batch_size: rows per minibatch, over all processes.
            max_tokens: room for prompt and response; a longer response is cut (and gets no end token).
            seed: of the order.
            intake: counts the rows; None for one of its own.

        Raises:
            UserError: the source has no demonstrations, or one does not fit.
        """
        try:
            rows = source.demonstrations("train")
        except MissingRowsError as error:
            raise UserError(
                f"ppo.ptx_coef: the PTX loss needs demonstrations ({error}); give some, or set ppo.ptx_coef=0"
            ) from error
        if not rows:
            raise UserError(
                "ppo.ptx_coef: the PTX loss needs demonstrations, and the training split has none; give some, or set "
                "ppo.ptx_coef=0"
            )
        self.tokenizer, self.batch_size = tokenizer, batch_size
        room = Room(max_tokens, "ppo.max_prompt_tokens + rollout.max_new_tokens")
        self.rows = encode_demonstrations(tokenizer, intake or Intake(source), "train", rows, room)
        self._order = lru_cache(maxsize=2)(lambda lap: permutation(seed ^ _PTX, lap, len(self.rows)).tolist())

    def minibatch(self, place: int) -> list[int]:
        """Row numbers of the whole minibatch: consecutive draws from endless shuffled passes.

        Args:
            place: which minibatch of the run, counted from 0 over all iterations.
        """
        drawn = (divmod(place * self.batch_size + row, len(self.rows)) for row in range(self.batch_size))
        return [self._order(lap)[offset] for lap, offset in drawn]

    def micro_batches(self, place: int, rank: int, num_ranks: int, accumulate: int) -> list[DemonstrationBatch]:
        """This process's part of a minibatch; the weighted mean losses of all parts average to the whole's."""
        return [
            collate_share(self.tokenizer, self.rows, share)
            for share in shares(self.minibatch(place), rank, num_ranks, accumulate)
        ]
