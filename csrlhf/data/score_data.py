"""The DataModules of score models: preference pairs for the reward model, labelled dialogues for the cost model.

They share :class:`ScoreDataModule`: each split is encoded once and batched by length, on every rank. A subclass says
which stage it serves, what a row is (``_load``) and what a batch holds (``_collate``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import lightning
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from csrlhf.data.batching import (
    Batch,
    Share,
    batch_loader,
    check_shares,
    evaluation_batches,
    ranks_of,
    require_training,
    training_batches,
    training_loader,
)
from csrlhf.data.encoding import encode_dialogue, pad, pad_id, prompt_text, seen_response
from csrlhf.data.intake import NO_LIMIT, Intake, Room
from csrlhf.data.near_duplicates import normalise
from csrlhf.data.pairs import SAME, cost_pairs, same_text
from csrlhf.data.settings import BatchSettings, CostLoss, JudgedRowsSettings, LabelledSettings, SplitToJudge
from csrlhf.data.source import DataSource, Split
from csrlhf.data.tables.record import LeftOut
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, LabelledRow, PreferenceRow, Prompt, PromptRow

Row = TypeVar("Row")


class ScoreDataModule(lightning.LightningDataModule, Generic[Row]):
    """Rows of a source, encoded for a score model.

    Args:
        source: where rows come from.
        tokenizer: the score model's.
        settings: sizes.
        max_tokens: of a dialogue; longer ones are cut (``encode_dialogue``), unless ``data.too_long`` says otherwise.
        seed: decides the batches' order, with the epoch.

    Raises:
        UserError: at ``setup``, where the stage would not train at all, or a row does not fit.
    """

    stage: ClassVar[str]
    """Whose keys a message names."""

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: BatchSettings,
        max_tokens: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.source = source
        self.tokenizer = tokenizer
        self.settings = settings
        self.batch_size = settings.batch_size
        self.max_tokens = max_tokens
        self.seed = seed
        self.accumulate = settings.accumulate
        self.intake = Intake(source)
        self._rows: dict[Split, list[Row]] = {}

    def setup(self, stage: str) -> None:
        """Encode the splits that the Trainer's ``stage`` (fit, validate, test) reads, each once."""
        if stage == "fit":
            require_training(self.trainer, self.stage)
        wanted: Mapping[str, tuple[Split, ...]] = {"fit": ("train", "validation"), "test": ("test",)}
        for split in wanted.get(stage, ("validation",)):
            if split not in self._rows:
                self._rows[split] = self._load(split)

    def train_dataloader(self) -> DataLoader:
        """Shuffled by (seed, epoch), this process's share; the trainer asks again at each epoch."""
        lengths = self._lengths("train")
        _, num_ranks = ranks_of(self.trainer)
        check_shares(self.stage, min(self.batch_size, len(lengths)), num_ranks, self.accumulate)

        def batches_of(epoch: int) -> list[list[int]]:
            return training_batches(lengths, self.batch_size, self.seed, epoch, self.settings.window)

        return training_loader(self._share, batches_of, self.trainer, self.accumulate)

    def val_dataloader(self) -> DataLoader:
        """This process's rows of the validation split."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader:
        """This process's rows of the test split."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: Split) -> DataLoader:
        batches = evaluation_batches(self._lengths(split), self.settings.eval_batch_size, *ranks_of(self.trainer))
        return batch_loader(lambda rows: self._batch(split, rows), batches)

    def _share(self, share: Share) -> Batch:
        return self._batch("train", share.rows) | {"weight": share.weight(), "is_last": share.is_last}

    def _batch(self, split: Split, rows: Sequence[int]) -> Batch:
        return self._collate([self._rows[split][row] for row in rows]) | {"rows": list(rows)}

    def _lengths(self, split: Split) -> list[int]:
        return [self._length(row) for row in self._rows[split]]

    def _dialogue(self, prompt: Prompt, response: str, max_tokens: int) -> list[int]:
        """A prompt and what a user sees of a response, as ids."""
        return encode_dialogue(self.tokenizer, prompt, seen_response(self.tokenizer, response), max_tokens)

    def _taken(self, split: Split, kind: str, rows: Sequence[Any], encode: Callable[[Any, int], Row]) -> list[Row]:
        """The rows encoded, each within ``max_tokens``.

        Args:
            split: whose they are.
            kind: what messages call them.
            rows: of the source.
            encode: makes ids of a row, of at most so many tokens; raises LeftOut for one that says nothing.
        """

        def whole(row: Any) -> tuple[Row, int]:
            encoded = encode(row, NO_LIMIT)
            return encoded, self._length(encoded)

        room = Room(self.max_tokens, "model.score.max_tokens")
        return self.intake.take(split, kind, rows, room, whole, lambda row: encode(row, self.max_tokens))

    @abstractmethod
    def _load(self, split: Split) -> list[Row]:
        """Read and encode one split."""

    @abstractmethod
    def _length(self, row: Row) -> int:
        """Tokens of an encoded row."""

    @abstractmethod
    def _collate(self, rows: list[Row]) -> dict[str, Any]:
        """Tensors of a batch."""


# Preference pairs for the reward model.
#
# A batch is ``{"input_ids": [2B, S], "mask": [2B, S] (True on real tokens), "margin": [B] of the rows, "rows": B row
# numbers}``, in training also ``"weight"`` and ``"is_last"`` (see ``Share``): the chosen
# responses first, then the rejected ones in the same order, so that one forward pass scores both.


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of the same prompt with the better and with the worse response, and the margin between them."""

    chosen: list[int]
    rejected: list[int]
    margin: float = 0.0


def same_within(max_tokens: int) -> str:
    """What is said of two responses that differ only where the model does not read, or in nothing that it can tell."""
    within = "" if max_tokens == NO_LIMIT else f" within model.score.max_tokens={max_tokens}"
    return f"the two responses are the same to the model{within}"


class PreferenceDataModule(ScoreDataModule[EncodedPair]):
    """Encodes ``source.preferences(split)``; the arguments are those of ``ScoreDataModule``."""

    stage = "reward"

    def _load(self, split: Split) -> list[EncodedPair]:
        return self._taken(split, "preference pairs", self.source.preferences(split), self._encode)

    def _encode(self, row: PreferenceRow, max_tokens: int) -> EncodedPair:
        """A pair that the model would read as the same text twice has a loss of log 2, and no gradient."""
        if same_text(row.chosen, row.rejected):
            raise LeftOut(SAME)
        chosen, rejected = (self._dialogue(row.prompt, response, max_tokens) for response in (row.chosen, row.rejected))
        if chosen == rejected:
            raise LeftOut(same_within(max_tokens))
        return EncodedPair(chosen, rejected, row.margin)

    def _length(self, row: EncodedPair) -> int:
        return max(len(row.chosen), len(row.rejected))

    def _collate(self, rows: list[EncodedPair]) -> dict[str, Any]:
        sequences = [row.chosen for row in rows] + [row.rejected for row in rows]
        input_ids_BS, mask_BS = pad(sequences, pad_id(self.tokenizer))
        return {"input_ids": input_ids_BS, "mask": mask_BS, "margin": torch.tensor([row.margin for row in rows])}


# Dialogues for the cost model: labelled ones, and with ``cost.loss=pairwise`` pairs of them to train on.
#
# A batch is ``{"input_ids": [B, S], "mask": [B, S] (True on real tokens), "unsafe": [B, K], "rows": row numbers}``, in
# training also ``"weight"`` and ``"is_last"`` (see ``Share``). A training batch of P pairs holds their 2P dialogues,
# all first ones before all second ones, and ``"order": [P, K]``.


@dataclass(frozen=True)
class EncodedDialogue:
    """Token ids of a dialogue and its harm labels (1.0 where constraint k is violated)."""

    input_ids: list[int]
    unsafe: tuple[float, ...]


@dataclass(frozen=True)
class EncodedCostPair:
    """Two encoded dialogues and, by constraint, which is the more harmful (``CostPairRow.order``)."""

    first: EncodedDialogue
    second: EncodedDialogue
    order: tuple[float, ...]


Encoded = EncodedDialogue | EncodedCostPair


class LabelledDataModule(ScoreDataModule[Encoded]):
    """Encodes ``source.labelled(split)``; with ``loss="pairwise"`` the training rows are ``cost_pairs(source)``."""

    stage = "cost"

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: LabelledSettings,
        max_tokens: int,
        seed: int,
    ) -> None:
        super().__init__(source, tokenizer, settings, max_tokens, seed)
        self.pairwise = settings.loss == CostLoss.pairwise
        if self.pairwise:
            self.batch_size //= 2  # two dialogues are a pair

    def _load(self, split: Split) -> list[Encoded]:
        if not self.pairwise or split != "train":
            return self._taken(split, "labelled responses", self.source.labelled(split), self._encode)
        return self._taken(split, "pairs for cost.loss=pairwise", cost_pairs(self.source, split), self._encode_pair)

    def _encode(self, row: LabelledRow, max_tokens: int) -> EncodedDialogue:
        return EncodedDialogue(self._dialogue(row.prompt, row.response, max_tokens), row.unsafe)

    def _encode_pair(self, pair: CostPairRow, max_tokens: int) -> EncodedCostPair:
        first, second = self._encode(pair.first, max_tokens), self._encode(pair.second, max_tokens)
        if first.input_ids == second.input_ids:
            raise LeftOut(same_within(max_tokens))
        return EncodedCostPair(first, second, pair.order)

    def _length(self, row: Encoded) -> int:
        return max(len(dialogue.input_ids) for dialogue in _dialogues([row]))

    def _collate(self, rows: list[Encoded]) -> dict[str, Any]:
        dialogues = _dialogues(rows)
        input_ids_BS, mask_BS = pad([dialogue.input_ids for dialogue in dialogues], pad_id(self.tokenizer))
        unsafe_BK = torch.tensor([dialogue.unsafe for dialogue in dialogues], dtype=torch.float32)
        batch = {"input_ids": input_ids_BS, "mask": mask_BS, "unsafe": unsafe_BK}
        orders = [row.order for row in rows if isinstance(row, EncodedCostPair)]
        return batch | {"order": torch.tensor(orders, dtype=torch.float32)} if orders else batch


def _dialogues(rows: list[Encoded]) -> list[EncodedDialogue]:
    """The dialogues of rows: of pairs all first ones, then all second ones."""
    pairs = [row for row in rows if isinstance(row, EncodedCostPair)]
    if pairs:
        return [pair.first for pair in pairs] + [pair.second for pair in pairs]
    return [row for row in rows if isinstance(row, EncodedDialogue)]


# Labelled rows of one split, for a stage that judges them and trains nothing (``evaluate=cost_model``).
#
# A batch is ``{"rows": row numbers}``, of about equally long texts: several scorers with tokenizers of their own may
# read them, so nothing is encoded here.


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
        settings: the split, and rows at a time.

    Raises:
        UserError: the data has no such split.
    """

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase | None,
        settings: JudgedRowsSettings,
    ) -> None:
        super().__init__()
        split: Split = "test" if settings.split == SplitToJudge.test else "validation"
        if not getattr(source, "has", lambda _: True)(split):
            raise UserError(
                f"evaluate.split={split}: the data has no such split; name a file of labelled rows with "
                f"data.{split}=FILE, or choose the other split"
            )
        self.source, self.split, self.batch_size = JudgedSplit(source, split), split, settings.batch_size

    def test_dataloader(self) -> DataLoader:
        """This process's rows."""
        rows = self.source.labelled("test")
        lengths = [len(prompt_text(row.prompt)) + len(row.response) for row in rows]
        batches = evaluation_batches(lengths, self.batch_size, *ranks_of(self.trainer))
        return batch_loader(lambda numbers: {"rows": list(numbers)}, batches)
