"""What all sources of tables share: one location per split, rows made on demand, every mistake before training.

An adapter says what its columns mean: a subclass with one small method per kind of row. Locations, formats, shares
instead of files, rows that are left out, and hashes are this file's part.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import groups, normalise
from csrlhf.data.pairs import SAME, compared_pair, pairs_by_label, same_text
from csrlhf.data.source import KIND_WORDS, SPLITS, Kind, MissingRowsError, Split, check_split
from csrlhf.data.tables.readers import check_location, content_hash, read_records
from csrlhf.data.tables.record import Line, Record, Sieve
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, DemonstrationRow, LabelledRow, PreferenceRow, Prompt, PromptRow

# Splits where there is one table: shares of its prompts; near-duplicates and turns of one conversation on one side.
#
# A pure function of the prompts and the seed. Groups are taken in the order of a hash of their first text, so another
# table with the same prompts (preferences beside labels, say) is split almost alike.

Shares = dict[Split, float]


def check_shares(shares: Mapping[Split, float], has_train: bool) -> None:
    """Refuses shares that are none, or shares of nothing.

    Raises:
        UserError: names the key.
    """
    for split, share in shares.items():
        if split == "train":
            raise UserError(f"data.train={share:g}: name a file; data.validation and data.test can be shares of it")
        if not 0 < share < 1:
            raise UserError(f"data.{split}={share:g}: a share of data.train must lie between 0 and 1")
        if not has_train:
            raise UserError(f"data.{split}={share:g} is a share of data.train, which is not set: name a file there")
    if sum(shares.values()) >= 1:
        raise UserError(
            f"data.validation and data.test take {sum(shares.values()):g} of data.train: leave some to train"
        )


def split_by_prompt(prompts: Sequence[Prompt], shares: Mapping[Split, float], seed: int) -> dict[Split, list[int]]:
    """Which rows go where.

    Args:
        prompts: one per row. Equal and nearly equal ones stay together, and so do conversations that begin alike: sets
            of conversations often have one several times, each time some turns longer.
        shares: of the rows, for ``validation`` and ``test``; ``train`` gets the rest.
        seed: another seed, another choice.

    Returns:
        Row numbers by split, in the table's order. Shares are met up to the size of a group.

    Raises:
        UserError: the groups are too few or too large for a share.
    """
    members: dict[int, list[int]] = {}
    texts = [prompt_text(prompt) for prompt in prompts]
    openings = [prompt_text(_opening(prompt)) for prompt in prompts]
    grouped = groups([*texts, *openings], joined=[(row, row + len(texts)) for row in range(len(texts))])
    for row, group in enumerate(grouped[: len(texts)]):
        members.setdefault(group, []).append(row)
    key = {group: min(normalise(texts[row]) for row in rows) for group, rows in members.items()}
    order = sorted(members, key=lambda group: hashlib.sha256(f"{seed}\n{key[group]}".encode()).digest())
    rest = dict.fromkeys(order)
    parts: dict[Split, list[int]] = {}
    for split, share in shares.items():
        target, taken = share * len(prompts), []
        for group in list(rest):
            # Rounded to whole groups: a group that would overshoot by more than half of itself is passed over.
            if len(taken) + len(members[group]) / 2 <= target:
                taken += members[group]
                del rest[group]
        if not taken or not rest:
            raise UserError(
                f"data.{split}={share:g}: data.train has {len(prompts)} rows in {len(members)} groups of near-duplicate"
                " prompts, which cannot be divided so: take another share, or name a file"
            )
        parts[split] = sorted(taken)
    return {"train": sorted(row for group in rest for row in members[group]), **parts}


def _opening(prompt: Prompt) -> Prompt:
    """A conversation up to its first turn of the user's."""
    if isinstance(prompt, str):
        return prompt
    first = next(number for number, turn in enumerate(prompt, start=1) if turn["role"] == "user")
    return prompt[:first]


# Where the rows of each split come from: a location of its own, or a share of the training table's prompts.


class GivenSplits:
    """The splits that a user named.

    Args:
        train: a location; None where no stage trains.
        validation: likewise, or a share of ``train``'s prompts, in (0, 1).
        test: likewise.
        split_seed: decides which prompts a share holds out.

    Attributes:
        locations: by split, of those that have one.
        shares: of the others.

    Raises:
        UserError: nothing is named, a location is missing, or shares do not fit.
    """

    def __init__(
        self, train: str | None, validation: str | float | None, test: str | float | None, split_seed: int
    ) -> None:
        given: dict[Split, str | float | None] = {"train": train, "validation": validation, "test": test}
        self.shares: Shares = {split: float(value) for split, value in given.items() if isinstance(value, int | float)}
        self.locations: dict[Split, str] = {
            split: check_location(f"data.{split}", str(value))
            for split, value in given.items()
            if value is not None and split not in self.shares
        }
        check_shares(self.shares, has_train="train" in self.locations)
        if not self.locations:
            raise UserError(
                "data has no file: set data.train=FILE and data.validation=FILE or a share, or data.test=FILE where a "
                "stage only evaluates"
            )
        self.split_seed = split_seed

    def __contains__(self, split: Split) -> bool:
        return split in self.locations or split in self.shares

    def origin(self, split: Split) -> str:
        """Where the rows of a split come from, for messages."""
        return self.locations.get(split) or f"data.{split}={self.shares[split]} of {self.locations['train']}"

    def hashes(self) -> dict[str, str]:
        """sha256 of what each location holds, by split."""
        return {split: content_hash(location) for split, location in self.locations.items()}

    def share_out(self, tables: Mapping[Split, list[Line]]) -> dict[Split, list[Line]]:
        """The lines of every split, in the order of the splits.

        Args:
            tables: the lines of each location.
        """
        lines = dict(tables)
        if self.shares:
            train = tables["train"]
            parts = split_by_prompt([line.prompt for line in train], self.shares, self.split_seed)
            lines |= {name: [train[row] for row in rows] for name, rows in parts.items()}
        return {name: lines[name] for name in SPLITS if name in lines}


class TableData:
    """Rows from tables, one location per split.

    Args:
        train: a file (``.jsonl``, ``.csv``, ``.parquet``), a folder of the ``datasets`` library, or
            ``owner/name:split`` on the Hub; None where no stage trains.
        validation: likewise, or a number in (0, 1): this share of ``train``'s prompts is held out for it.
        test: likewise; scored once, at the end.
        constraints: names of the labelled harms, in the order of the cost model's outputs.
        split_seed: decides which prompts a share holds out. Not the run's seed: runs are to be compared on the
            same rows, and a stage must not train on what another one holds out.
        bad_rows: ``error`` stops at a broken row, ``skip`` leaves it out and says how many there were.

    Raises:
        UserError: a location is missing, or (at the first read) a row is broken; the message names file and line.
    """

    name: ClassVar[str]
    needs: ClassVar[Mapping[Kind, str]]
    """The columns that each kind of row needs, in words; a kind that is not named is not offered."""

    oracle = None

    def __init__(
        self,
        train: str | None = None,
        validation: str | float | None = None,
        test: str | float | None = None,
        constraints: Sequence[str] = ("harm",),
        split_seed: int = 0,
        bad_rows: str = "error",
    ) -> None:
        self.constraints = tuple(constraints)
        if not self.constraints or len(set(self.constraints)) < len(self.constraints):
            raise UserError(f"data.constraints={list(self.constraints)}: give one or more different names")
        if bad_rows not in ("error", "skip"):
            raise UserError(f"data.bad_rows={bad_rows}: must be error or skip")
        self._given = GivenSplits(train, validation, test, split_seed)
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
            rows = self._labelled_of(line)
            if line.record.has("safer_response_id"):
                compared.append(compared_pair(line, rows))
            else:
                others.extend(rows)

        self._sieve.keep(split, self._read(split), take)
        return compared + pairs_by_label(others)

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
            self._made[kind] = {name: self._make(kind, name, lines) for name, lines in self._lines.items()}
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
        return [row for rows in self._sieve.keep(split, lines, of.get(kind, self._prompts_of)) for row in rows]

    def _prompts_of(self, line: Line) -> list[PromptRow]:
        return [PromptRow(line.prompt, self.meta_of(line.record))]

    def _preferences_of(self, line: Line) -> list[PreferenceRow]:
        """The adapter's pairs; one of equal responses teaches nothing, and counts as a wrong decision half the time."""
        rows = self.preferences_of(line)
        if any(same_text(row.chosen, row.rejected) for row in rows):
            raise line.record.error(SAME)
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
            tables: dict[Split, list[Line]] = {name: self._table(name) for name in self._given.locations}
            self._lines = self._given.share_out(tables)
        return self._lines[split]

    def _table(self, split: Split) -> list[Line]:
        records = read_records(self._given.locations[split])
        lines = self._sieve.keep(split, records, lambda record: Line(record, self.prompt_of(record)))
        self.check_table(lines)
        return lines
