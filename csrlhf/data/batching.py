"""Batches of encoded rows whose order is a pure function of (seed, epoch), and how processes share each of them.

``batch_size`` always counts the rows of one optimiser step, whatever the number of processes and of micro-batches: both
split a batch, neither changes it. No global random generator, no state.

Legend of suffixes: B rows of a batch, S tokens, K constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning import Trainer
from torch.utils.data import DataLoader, Dataset, Sampler

from csrlhf.errors import UserError

# Which of how many processes this is. DataModules ask: they know their Trainer and share out its batches.


def ranks_of(trainer: Trainer | None) -> tuple[int, int]:
    """``(rank, number of processes)``; ``(0, 1)`` outside of a Trainer."""
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


# The check that a stage trains at all. DataModules make it: they know their stage's keys and meet its Trainer.


def require_training(trainer: Trainer | None, stage: str, steps_key: str | None = None) -> None:
    """Refuses a length of training of nothing, which would publish an untrained model, or of no end.

    Args:
        trainer: the stage's; None outside of one.
        stage: whose keys ``epochs`` and ``max_steps`` set the length.
        steps_key: where the steps are limited, for a stage without a key ``max_steps``.

    Raises:
        UserError: no epoch and no step, or neither of them limited.
    """
    if trainer is None:
        return
    if trainer.max_steps == 0 or trainer.max_steps < -1:
        key = steps_key or f"{stage}.max_steps"
        raise UserError(f"{key}={trainer.max_steps}: must be >= 1, or -1 for no limit")
    # A number of steps can stand in for the epochs, which -1 leaves open.
    open_epochs = trainer.max_epochs == -1 and trainer.max_steps > 0
    if trainer.max_epochs is not None and trainer.max_epochs < 1 and not open_epochs:
        raise UserError(f"{stage}.epochs={trainer.max_epochs}: must be >= 1")


Batch = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """What one process takes of one batch in one forward pass.

    Attributes:
        rows: row numbers, at least one (processes must do the same number of passes).
        counted: how many of ``rows`` count, from the first: 0 in a share that only fills up, else all.
        batch: the row numbers of the whole batch, over all processes and micro-batches.
        parts: shares that the batch has: processes x micro-batches.
        is_last: True where the optimiser steps after this share.

    Example:
        ``Share((4, 7), 2, (4, 7, 1, 3), 2, True)``: half of a batch of four, as the first of two processes.
    """

    rows: tuple[int, ...]
    counted: int
    batch: tuple[int, ...]
    parts: int
    is_last: bool

    def weight(self, size_of: Callable[[int], int] = lambda row: 1) -> float:
        """What the mean loss of this share is multiplied by, so that the average over all shares is the batch's mean.

        Args:
            size_of: what a row counts in the mean, e.g. its number of response tokens; 1 for a mean over rows.
        """
        here = sum(size_of(row) for row in self.rows[: self.counted])
        return here * self.parts / max(sum(size_of(row) for row in self.batch), 1)


def shares(batch: Sequence[int], rank: int, num_ranks: int, accumulate: int) -> list[Share]:
    """This process's share of a batch, one per micro-batch; over all processes every row comes once."""
    parts = num_ranks * accumulate
    found = []
    for micro in range(accumulate):
        rows = tuple(batch[micro * num_ranks + rank :: parts])
        found.append(Share(rows or (batch[0],), len(rows), tuple(batch), parts, micro == accumulate - 1))
    return found


def training_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int, window: int) -> list[list[int]]:
    """Row indices of one epoch, batch by batch; every row once, the last batch may be smaller.

    Args:
        lengths: tokens per row.
        batch_size: rows per batch.
        seed: with ``epoch`` decides the order.
        epoch: counted from 0.
        window: batches whose rows are sorted by length among themselves, so that little is padded; 1 keeps the
            order fully random.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths)).tolist()
    if window <= 1:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    batches: list[list[int]] = []
    for start in range(0, len(order), window * batch_size):
        rows = sorted(order[start : start + window * batch_size], key=lambda row: lengths[row])
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    # Short and long batches mixed: else every window would run from short to long.
    return [batches[index] for index in rng.permutation(len(batches))]


class SharedBatches(Sampler[Share]):
    """This process's shares of an epoch's batches, in order. Lightning calls ``set_epoch`` before each epoch.

    Args:
        batches_of: the whole batches of an epoch, a pure function of its number.
        epoch: the first one to go through.
        rank: of this process.
        num_ranks: processes that share each batch.
        accumulate: micro-batches per batch.
    """

    def __init__(
        self,
        batches_of: Callable[[int], list[list[int]]],
        epoch: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.batches_of, self.epoch = batches_of, epoch
        self.rank, self.num_ranks, self.accumulate = rank, num_ranks, accumulate
        self.num_batches = len(batches_of(epoch))

    def set_epoch(self, epoch: int) -> None:
        """Choose whose order the next iteration follows."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Share]:
        # A generator: Lightning asks for the iterator of a resumed epoch before it says which epoch that is.
        for batch in self.batches_of(self.epoch):
            yield from shares(batch, self.rank, self.num_ranks, self.accumulate)

    def __len__(self) -> int:
        return self.num_batches * self.accumulate


def check_shares(stage: str, batch_size: int, num_ranks: int, accumulate: int) -> None:
    """Raise a UserError where a batch has fewer rows than it is to be split into."""
    if batch_size < num_ranks * accumulate:
        raise UserError(
            f"{stage}.batch_size={batch_size}: fewer rows than {num_ranks} processes x {stage}.accumulate={accumulate} "
            "micro-batches; it counts the rows of one optimiser step over all of them"
        )


def check_rows(count: int, num_ranks: int) -> None:
    """Raise a UserError where a validation or test split has fewer rows than there are processes to judge them."""
    if count < num_ranks:
        raise UserError(f"{count} rows to evaluate on {num_ranks} processes: each needs one; lower trainer.devices")


class _Batches(Dataset[Any]):
    """A dataset whose index is a whole batch of rows, so that they are put together at once."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __getitem__(self, rows: Any) -> Any:
        return self.collate(rows)


def batch_loader(collate: Callable[[Any], Any], batches: Sequence[Any]) -> DataLoader:
    """A loader that yields ``collate(batch)`` for each of ``batches``, in this order in every epoch."""
    return DataLoader(batches, batch_size=None, shuffle=False, collate_fn=collate)  # type: ignore[arg-type]  # it is indexed


def training_loader(
    collate: Callable[[Share], Any],
    batches_of: Callable[[int], list[list[int]]],
    trainer: Trainer | None,
    accumulate: int,
) -> DataLoader:
    """A loader of this process's shares of the current epoch's batches (the trainer asks again at each epoch).

    With ``trainer.overfit_batches`` every epoch is the first: the same batches are to be learned by heart.

    Args:
        collate: makes a batch of a share.
        batches_of: the whole batches of an epoch, a pure function of its number.
        trainer: of the stage; None outside of one.
        accumulate: micro-batches per batch.
    """
    if trainer is not None and trainer.overfit_batches:  # type: ignore[attr-defined]  # set in a connector
        return batch_loader(collate, list(SharedBatches(batches_of, 0, *ranks_of(trainer), accumulate)))
    epoch = trainer.current_epoch if trainer is not None else 0
    sampler = SharedBatches(batches_of, epoch, *ranks_of(trainer), accumulate)
    return DataLoader(_Batches(collate), batch_size=None, sampler=sampler)


def evaluation_batches(lengths: Sequence[int], batch_size: int, rank: int = 0, num_ranks: int = 1) -> list[list[int]]:
    """This process's rows of a split, each once, sorted by length: the least padding, and no randomness.

    Raises:
        UserError: there are fewer rows than processes: one of them would wait for ever.
    """
    check_rows(len(lengths), num_ranks)
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])[rank::num_ranks]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
