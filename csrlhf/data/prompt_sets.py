"""The prompts of an evaluation: the data's test split, or files of their own with categories; each asked several times.

A file has one prompt a line (JSON Lines, CSV or Parquet) in the column ``prompt``; ``category`` and ``attack`` say of
what kind it is, ``id`` what it is called, and every other column is kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from csrlhf.data.prompts import PromptDataModule
from csrlhf.data.settings import EvaluationPrompts, PromptSettings
from csrlhf.data.source import DataSource, Kind, MissingRowsError, Oracle, Split
from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.source import TableData
from csrlhf.errors import UserError
from csrlhf.types import PromptRow

PROMPT_ID = "prompt_id"
"""Where ``meta`` says what a prompt of a file is called."""


class PromptFile(TableData):
    """Prompts with what their file says of them; the arguments are those of ``TableData``."""

    name = "prompts"
    needs: ClassVar[Mapping[Kind, str]] = {"prompts": "prompt"}

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Every column beside the prompt; category and attack are words."""
        meta = {column: value for column, value in record.fields.items() if column != "prompt"}
        words = {column: record.text(column) for column in ("category", "attack") if column in meta}
        return meta | words

    def check_table(self, lines: Sequence[Line]) -> None:
        """Refuses a file in which some prompts have a category and others have none, and an id that stands twice."""
        for column in ("category", "attack", "id"):
            missing = [line.record for line in lines if not line.record.has(column)]
            if missing and len(missing) < len(lines):
                raise missing[0].error(f"the column {column} is missing, other lines of the file have it: add it")
        seen: dict[str, str] = {}
        for record in (line.record for line in lines if line.record.has("id")):
            identifier = str(record.value("id"))
            if identifier in seen:
                raise record.error(f"the id {identifier!r} occurs there and in {seen[identifier]}: ids are unique")
            seen[identifier] = record.place


class PromptSets:
    """A data source whose test prompts stand in files of their own. It offers nothing else.

    Args:
        source: the stage's data; its oracle judges where the files say of a prompt all that the oracle looks at.
        files: prompt files by the name of the set, e.g. ``{"jailbreaks": "jailbreaks.jsonl"}``. A file without the
            column ``category`` is one category by the set's name.
    """

    def __init__(self, source: DataSource, files: Mapping[str, str]) -> None:
        if not isinstance(files, Mapping):
            raise UserError(f"evaluate.prompts={files}: needs a name for each file, evaluate.prompts={{name: FILE}}")
        if not files:
            raise UserError("evaluate.prompts={}: name at least one file, evaluate.prompts={name: FILE}")
        self.name, self.constraints = source.name, source.constraints
        self.too_long, self.bad_rows = getattr(source, "too_long", None), getattr(source, "bad_rows", "error")
        self._source, self._tables = source, {name: _table(name, str(file)) for name, file in files.items()}
        self._rows: list[PromptRow] | None = None

    @property
    def oracle(self) -> Oracle | None:
        """The judge of the generated world that the prompts were taken from; None for others."""
        if self._source.oracle is None:
            return None
        needed = self._source.prompts("test")[0].meta.keys()
        return self._source.oracle if all(needed <= row.meta.keys() for row in self.prompts("test")) else None

    def has(self, split: Split) -> bool:
        """True for the test split."""
        return split == "test"

    def prompts(self, split: Split) -> list[PromptRow]:
        """The prompts of all files, file by file."""
        if split != "test":
            raise MissingRowsError(f"evaluate.prompts has no {split} split: it is asked for in an evaluation only")
        if self._rows is None:
            self._rows = [row for name, table in self._tables.items() for row in _named(name, table.prompts("test"))]
        return self._rows

    def demonstrations(self, split: Split) -> list[Any]:
        """None are offered."""
        raise MissingRowsError("evaluate.prompts holds prompts alone")

    preferences = labelled = demonstrations

    def places(self, split: Split) -> dict[str, str]:
        """Where each prompt stands first, by its normalised text."""
        found: dict[str, str] = {}
        for table in self._tables.values():
            found = table.places(split) | found
        return found

    def hashes(self) -> dict[str, str]:
        """sha256 of each file."""
        return {name: table.hashes()["test"] for name, table in self._tables.items()}


class EvaluationData(PromptDataModule):
    """Test prompts in order, each as often as it is to be answered."""

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: EvaluationPrompts,
        max_prompt_tokens: int = 256,
        seed: int = 0,
    ) -> None:
        """Build the module; rows are read in ``setup``.

        Args:
            source: the stage's data.
            tokenizer: the policies'.
            settings: files, answers to a prompt, prompts at a time.
            max_prompt_tokens: a longer prompt is an error that names it.
            seed: unused by an order that is the files'.
        """
        used: Any = source if settings.prompts is None else PromptSets(source, settings.prompts)
        alone = PromptSettings(batch_size=1, max_prompt_tokens=max_prompt_tokens)
        super().__init__(used, tokenizer, alone, eval_batch_size=settings.batch_size, seed=seed)
        self.num_samples, self.outputs = settings.samples_per_prompt, settings.outputs
        if self.outputs is not None:
            self.source = None  # type: ignore[assignment]  # nothing is asked, so nothing can leak

    def setup(self, stage: str) -> None:
        """Read the prompts; prompt ``n``'s answers have the indices ``n k, ..., n k + k - 1``."""
        if self.outputs is not None or "test" in self.rows:
            return
        super().setup(stage)
        self.rows["test"] = [row for row in self.rows["test"] for _ in range(self.num_samples)]

    def test_dataloader(self) -> DataLoader:
        """The prompts; of kept answers a single empty batch, in which the module reads them."""
        if self.outputs is not None:
            return DataLoader([None], batch_size=None)  # type: ignore[arg-type]  # any sequence is a dataset
        return super().test_dataloader()


def _table(name: str, file: str) -> PromptFile:
    try:
        return PromptFile(test=file)
    except UserError as error:
        raise UserError(str(error).replace("data.test", f"evaluate.prompts.{name}", 1)) from error


def _named(name: str, rows: Sequence[PromptRow]) -> list[PromptRow]:
    """The rows with an id, and with a category where the file has none."""
    named = []
    for number, row in enumerate(rows):
        meta = {"category": name, **row.meta, PROMPT_ID: f"{name}-{row.meta.get('id', number)}"}
        named.append(replace(row, meta=meta))
    return named
