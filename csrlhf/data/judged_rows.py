"""Labelled rows of one split, for a stage that judges them and trains nothing (``evaluate=cost_model``).

A batch is ``{"rows": row numbers}``, of about equally long texts: several scorers with tokenizers of their own may read
them, so nothing is encoded here.
"""

from __future__ import annotations

from typing import Any

import lightning
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from csrlhf.data.batching import batch_loader, evaluation_batches, ranks_of
from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import normalise
from csrlhf.data.source import DataSource, Split
from csrlhf.errors import UserError
from csrlhf.types import LabelledRow, PromptRow

SPLITS_TO_JUDGE = ("validation", "test")


class JudgedSplit:
    """A source whose chosen split replaces its test split, for stages that only evaluate."""

    def __init__(self, source: DataSource, split: Split) -> None:
        """Keep the source; everything that is not redefined here is its own."""
        self.source = source
        self.split: Split = split

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def has(self, split: Split) -> bool:
        """True for the split in question, and what the source says of others."""
        return split == "test" or getattr(self.source, "has", lambda _: True)(split)

    def labelled(self, split: Split) -> list[LabelledRow]:
        """The source's rows; of ``test`` those of the chosen split."""
        return self.source.labelled(self._actual(split))

    def prompts(self, split: Split) -> list[PromptRow]:
        """Likewise: they are compared with those of the training."""
        return self.source.prompts(self._actual(split))

    def places(self, split: Split) -> dict[str, str]:
        """Likewise, where the source knows places."""
        places = getattr(self.source, "places", None)
        return {} if places is None else places(self._actual(split))

    def place(self, row: int) -> str:
        """What to call a judged row in a message: its file and line where they are known."""
        prompt = normalise(prompt_text(self.labelled("test")[row].prompt))
        place = self.places("test").get(prompt) if self.source.oracle is None else None
        return place or f"row {row + 1} of data.{self.split}"

    def _actual(self, split: Split) -> Split:
        return self.split if split == "test" else split


class JudgedRowsDataModule(lightning.LightningDataModule):
    """Row numbers of a split, by length, on every rank.

    Args:
        source: where rows come from.
        tokenizer: of the first cost model; not needed, since each scorer has its own.
        split: ``validation`` or ``test``.
        batch_size: rows at a time.

    Raises:
        UserError: an unknown split, one that the data has not, or a batch of no rows.
    """

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase | None,
        split: Split = "test",
        batch_size: int = 256,
    ) -> None:
        super().__init__()
        if split not in SPLITS_TO_JUDGE:
            raise UserError(
                f"evaluate.split={split}: must be one of {', '.join(SPLITS_TO_JUDGE)}; figures on rows that a model "
                "was trained on say nothing"
            )
        if not getattr(source, "has", lambda _: True)(split):
            raise UserError(
                f"evaluate.split={split}: the data has no such split; name a file of labelled rows with "
                f"data.{split}=FILE, or choose the other split"
            )
        if batch_size < 1:
            raise UserError(f"evaluate.batch_size={batch_size}: must be >= 1")
        self.source, self.split, self.batch_size = JudgedSplit(source, split), split, batch_size

    def test_dataloader(self) -> DataLoader:
        """This process's rows."""
        rows = self.source.labelled("test")
        lengths = [len(prompt_text(row.prompt)) + len(row.response) for row in rows]
        batches = evaluation_batches(lengths, self.batch_size, *ranks_of(self.trainer))
        return batch_loader(lambda numbers: {"rows": list(numbers)}, batches)
