"""A Lightning module whose test batches are kept as they come: evaluate, certify and a cost model's evaluation.

What is kept, and when a batch counts, is :class:`csrlhf.generation.journal.Journal`'s part; here processes agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule

from csrlhf.evaluation.answers.records import Answer, answer_line
from csrlhf.generation.journal import Item, Journal
from csrlhf.runs.artifacts import KEPT
from csrlhf.training.ranks import everywhere, gather_numbered


class JournalModule(LightningModule):
    """Runs once over test batches, and goes on where a killed run stood.

    Attributes:
        work: folder where items are kept as soon as they are there; None keeps none.
    """

    work: str | Path | None
    journal: Journal[Any]

    def open_journal(
        self,
        about: Mapping[str, Any],
        pack: Callable[[Any], str] = answer_line,
        unpack: Callable[[Any], Any] = lambda fields: Answer(**fields),
    ) -> None:
        """Read what a killed run has kept; to be called before the first batch. See ``Journal`` for the arguments."""
        folder = None if self.work is None else Path(self.work) / KEPT
        self.journal = Journal(folder, about, pack, unpack, self.global_rank)
        self.trainer.strategy.barrier("what is kept is read")  # before another process appends to its own

    def batch(self, name: str, index: Sequence[int], total: int, make: Callable[[], Sequence[Item]]) -> list[Item]:
        """The items of a batch of ``total`` prompts: kept ones where all processes' are there, else fresh ones.

        Args:
            name: of what the batch is a part.
            index: numbers of this process's items, ascending.
            total: how many prompts there are.
            make: makes the items.
        """
        return self.journal.batch(name, index, make, everywhere(self, index, total))

    def gathered(self, name: str) -> list[Any]:
        """The items of all processes in the order of their numbers; the same list on each."""
        return gather_numbered(self, self.journal.take(name))
