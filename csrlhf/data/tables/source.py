"""What all sources of tables share: one location per split, rows made on demand, every mistake before training.

An adapter says what its columns mean: a subclass with one small method per kind of row. Locations, formats, shares
instead of files, rows that are left out, and hashes are this file's part.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, ClassVar

from csrlhf.data.encoding import prompt_text
from csrlhf.data.intake import check_too_long
from csrlhf.data.near_duplicates import normalise
from csrlhf.data.pairs import SAME, compared_pair, pairs_by_label, same_text
from csrlhf.data.source import KIND_WORDS, Kind, MissingRowsError, Split, check_split
from csrlhf.data.tables.readers import is_hub_name
from csrlhf.data.tables.record import LeftOut, Line, Record, Sieve
from csrlhf.data.tables.splits import GivenSplits, Location
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, DemonstrationRow, LabelledRow, PreferenceRow, Prompt, PromptRow


class TableData:
    """Rows from tables, one location per split.

    Args:
        train: a file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.parquet``, with ``.gz`` or ``.zst`` behind it or
            not), a folder of the ``datasets`` library, or ``owner/name:split`` on the Hub; or a list of these, whose
            rows follow each other; None where no stage trains.
        validation: likewise, or a number in (0, 1): this share of ``train``'s prompts is held out for it.
        test: likewise; scored once, at the end.
        constraints: names of the labelled harms, in the order of the cost model's outputs.
        split_seed: decides which prompts a share holds out. Not the run's seed: runs are to be compared on the
            same rows, and a stage must not train on what another one holds out.
        bad_rows: ``error`` stops at a broken row, ``skip`` leaves it out and says how many there were.
        too_long: what happens to a row that is longer than its stage has room for: ``error``, ``skip`` or ``truncate``;
            None: a prompt is an error, a dialogue is cut (``csrlhf.data.intake``).
        max_rows: most rows per kind and split, for trying things out; None: all. A hash of the prompts chooses, so that
            every kind takes the same prompts, and a sorted file does not end as one kind of prompt.
        columns: the files' names of our columns where they differ, ``{"prompt": "Behavior"}``.
        data_dir: a folder of the data sets on the Hub, as ``datasets.load_dataset`` takes it.

    Raises:
        UserError: a location is missing, or (at the first read) a row is broken; the message names file and line.
    """

    name: ClassVar[str]
    needs: ClassVar[Mapping[Kind, str]]
    """The columns that each kind of row needs, in words; a kind that is not named is not offered."""

    reads: ClassVar[Sequence[str]] = ()
    """All columns that mean something, which ``data.columns`` may name; empty: not told."""
    hub_options: ClassVar[Mapping[str, Any]] = {}
    """What ``datasets.load_dataset`` needs to read the set's files."""

    oracle = None

    def __init__(
        self,
        train: Location | None = None,
        validation: Location | float | None = None,
        test: Location | float | None = None,
        constraints: Sequence[str] = ("harm",),
        split_seed: int = 0,
        bad_rows: str = "error",
        too_long: str | None = None,
        max_rows: int | None = None,
        columns: Mapping[str, str] | None = None,
        data_dir: str | None = None,
    ) -> None:
        self.constraints = tuple(constraints)
        if not self.constraints or len(set(self.constraints)) < len(self.constraints):
            raise UserError(f"data.constraints={list(self.constraints)}: give one or more different names")
        if bad_rows not in ("error", "skip"):
            raise UserError(f"data.bad_rows={bad_rows}: must be error or skip")
        self.bad_rows, self.too_long = bad_rows, check_too_long(too_long)
        if max_rows is not None and (isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1):
            raise UserError(f"data.max_rows={max_rows}: must be a whole number of at least 1, or null for all rows")
        self._max_rows, self._seed = max_rows, split_seed
        self._columns = self._checked_columns(columns)
        options = dict(self.hub_options) | ({} if data_dir is None else {"data_dir": data_dir})
        self._given = GivenSplits(train, validation, test, split_seed, options)
        if data_dir is not None and not any(
            is_hub_name(one) for several in self._given.locations.values() for one in several
        ):
            raise UserError(
                f"data.data_dir={data_dir}: is a folder of a data set on the Hub, and no split is on the Hub; name the "
                "files in it, or leave it null"
            )
        self._sieve = Sieve(skips=bad_rows == "skip")
        self._lines: dict[Split, list[Line]] = {}
        self._made: dict[Kind, dict[Split, list[Any]]] = {}

    @property
    def left_out(self) -> dict[Split, Counter[str]]:
        """How many rows were left out and why, by split."""
        return self._sieve.left_out

    def has(self, split: Split) -> bool:
        """True if a location or a share was given for ``split``."""
        return split in self._given

    def prompts(self, split: Split) -> list[PromptRow]:
        """Every different prompt of the split, in the table's order."""
        return self._rows("prompts", split)

    def demonstrations(self, split: Split) -> list[DemonstrationRow]:
        """Responses to imitate."""
        return self._rows("demonstrations", split)

    def preferences(self, split: Split) -> list[PreferenceRow]:
        """Pairs of responses with the better one known."""
        return self._rows("preferences", split)

    def labelled(self, split: Split) -> list[LabelledRow]:
        """Responses with harm labels."""
        return self._rows("labelled", split)

    def cost_pairs(self, split: Split) -> list[CostPairRow]:
        """Pairs for ``cost.loss=pairwise``: compared responses row by row, then those that labels tell apart."""
        compared: list[CostPairRow] = []
        others: list[LabelledRow] = []

        def take(line: Line) -> None:
            rows = [replace(row, place=line.record.place) for row in self._labelled_of(line)]
            if line.record.has("safer_response_id"):
                compared.append(compared_pair(line, rows))
            else:
                others.extend(rows)

        self._sieve.keep(split, self._read(split), take)
        return self._fewer(compared + pairs_by_label(others))

    def hashes(self) -> dict[str, str]:
        """sha256 of what each location holds, by split."""
        return self._given.hashes()

    def places(self, split: Split) -> dict[str, str]:
        """Where each prompt of the split stands first (``file:line``), by its normalised text."""
        found: dict[str, str] = {}
        for line in self._read(split):
            found.setdefault(normalise(prompt_text(line.prompt)), line.record.place)
        return found

    # What an adapter says of its columns.

    def adapted(self, record: Record) -> Record:
        """The row as the methods below read it: other layouts brought into its columns; raises LeftOut as these do."""
        return record

    def prompt_of(self, record: Record) -> Prompt:
        """The prompt of a row."""
        return record.prompt()

    def meta_of(self, record: Record) -> dict[str, Any]:
        """What a report needs to know of a prompt, such as its category."""
        return {}

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """Responses to imitate in a row; raises LeftOut with a reason where it has none, though it should."""
        return []

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        """Likewise, pairs."""
        return []

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """Likewise, labelled responses."""
        return []

    def check_table(self, lines: Sequence[Line]) -> None:
        """Raises a UserError where the rows of a table do not fit together."""

    # From locations to rows.

    def _rows(self, kind: Kind, split: Split) -> list[Any]:
        self._read(split)
        if kind not in self.needs:
            raise MissingRowsError(
                f"data={self.name} has no {KIND_WORDS[kind]}: its columns serve {', '.join(self.needs)}"
            )
        if kind not in self._made:
            # Of every split: a broken row of the test file should not surface after an hour of training.
            self._made[kind] = {name: self._fewer(self._make(kind, name, lines)) for name, lines in self._lines.items()}
        rows = self._made[kind][split]
        if not rows:
            raise MissingRowsError(
                f"{self._given.origin(split)} holds no {KIND_WORDS[kind]}: each line needs the columns "
                f"{self.needs[kind]}"
            )
        return rows

    def _make(self, kind: Kind, split: Split, lines: Sequence[Line]) -> list[Any]:
        of = {
            "demonstrations": self.demonstrations_of,
            "preferences": self._preferences_of,
            "labelled": self._labelled_of,
        }
        if kind == "prompts":
            unique: dict[str, Line] = {}
            for line in lines:
                unique.setdefault(prompt_text(line.prompt), line)
            lines = list(unique.values())
        make = of.get(kind, self._prompts_of)

        def placed(line: Line) -> list[Any]:
            return [replace(row, place=line.record.place) for row in make(line)]

        return [row for rows in self._sieve.keep(split, lines, placed) for row in rows]

    def _fewer(self, rows: list[Any]) -> list[Any]:
        """At most ``max_rows`` of them, in the table's order."""
        if self._max_rows is None or len(rows) <= self._max_rows:
            return rows
        asked = [row.first.prompt if isinstance(row, CostPairRow) else row.prompt for row in rows]
        texts = [normalise(prompt_text(prompt)) for prompt in asked]
        digests = [hashlib.sha256(f"{self._seed}\n{text}".encode()).digest() for text in texts]
        chosen = sorted(range(len(rows)), key=lambda row: (digests[row], row))[: self._max_rows]
        return [rows[row] for row in sorted(chosen)]

    def _prompts_of(self, line: Line) -> list[PromptRow]:
        return [PromptRow(line.prompt, self.meta_of(line.record))]

    def _preferences_of(self, line: Line) -> list[PreferenceRow]:
        """The adapter's pairs; one of equal responses teaches nothing, and counts as a wrong decision half the time."""
        rows = self.preferences_of(line)
        if any(same_text(row.chosen, row.rejected) for row in rows):
            raise LeftOut(SAME)
        return rows

    def _labelled_of(self, line: Line) -> list[LabelledRow]:
        """The adapter's labelled responses; equal ones of a row with other labels pull the cost model both ways."""
        rows = self.labelled_of(line)
        if any(a.unsafe != b.unsafe and same_text(a.response, b.response) for a, b in combinations(rows, 2)):
            raise line.record.error("the two responses are the same and their labels differ: correct or drop the line")
        return rows

    def _read(self, split: Split) -> list[Line]:
        if not self.has(check_split(split)):
            raise UserError(f"data.{split} is not set: name a file, data.{split}=FILE")
        if not self._lines:
            # All at once, for the same reason.
            records: dict[Split, list[Record]] = {name: self._given.read(name) for name in self._given.locations}
            self._check_names(records)
            tables: dict[Split, list[Line]] = {name: self._table(name, found) for name, found in records.items()}
            self._lines = self._given.share_out(tables)
        return self._lines[split]

    def _table(self, split: Split, records: Sequence[Record]) -> list[Line]:
        def line_of(record: Record) -> Line:
            adapted = self.adapted(record.renamed(self._columns))
            return Line(adapted, self.prompt_of(adapted))

        lines = self._sieve.keep(split, records, line_of)
        self.check_table(lines)
        return lines

    def _checked_columns(self, columns: Mapping[str, str] | None) -> dict[str, str]:
        """``data.columns`` as a plain mapping of names that mean something."""
        if columns is None:
            return {}
        if not isinstance(columns, Mapping) or not all(isinstance(name, str) and name for name in columns.values()):
            raise UserError(f"data.columns={columns}: must name columns of the files by ours, {{prompt: question}}")
        unknown = [name for name in columns if self.reads and name not in self.reads]
        if unknown:
            raise UserError(
                f"data.columns.{unknown[0]}: data={self.name} reads no column of this name; it reads "
                f"{', '.join(self.reads)}"
            )
        return {str(ours): theirs for ours, theirs in columns.items()}

    def _check_names(self, records: Mapping[Split, Sequence[Record]]) -> None:
        """Refuses a name in ``data.columns`` that no row of any file has: nothing would be read of it."""
        for ours, theirs in self._columns.items():
            if not any(theirs in record.fields for found in records.values() for record in found):
                there = sorted({str(name) for found in records.values() for record in found for name in record.fields})
                raise UserError(f"data.columns.{ours}={theirs}: no row has such a column; there are {', '.join(there)}")


def one_constraint(source: TableData) -> None:
    """Refuses several constraints of a set whose responses have one label.

    Raises:
        UserError: there are several.
    """
    if len(source.constraints) > 1:
        raise UserError(
            f"data.constraints={list(source.constraints)}: data={source.name} has one label for a response; name one "
            "constraint"
        )
