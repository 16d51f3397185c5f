"""A row of a table whose fields are checked as they are read: every complaint names the file and the line.

Whatever the format, a row is a mapping of column names to values. What the values mean is the adapters' part.
"""

from __future__ import annotations

import json
import re
import reprlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from csrlhf.data.source import Split
from csrlhf.data.tables.labels import SKIP, UNSAFE, LabelWords
from csrlhf.errors import InputWarning, UserError
from csrlhf.types import Messages, Prompt

ROLES = ("system", "user", "assistant")


Meaning = TypeVar("Meaning")


class RowError(UserError):
    """One row is broken; ``data.bad_rows=skip`` leaves it out."""


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are there: a null says that a row has no such column, as an empty cell of CSV does."""
    return {key: value for key, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Record:
    """One row.

    Example: ``Record("train.jsonl:7", {"prompt": "how?", "response": "so."}).text("prompt")`` is ``"how?"``.

    Attributes:
        place: ``file:line`` (counted from 1, as editors do), or ``file, row n`` where a format has no lines.
        fields: the values by column.
        texts_only: the format knows texts alone (CSV): numbers, truth values and objects are read out of them.
        names: what columns are called in the file where that differs (``data.columns``), for messages.
    """

    place: str
    fields: dict[str, Any]
    texts_only: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    def renamed(self, columns: Mapping[str, str]) -> Record:
        """The row with our names: ``columns`` has the file's name of each of ours."""
        if not columns:
            return self
        own = {name: value for name, value in self.fields.items() if name not in columns}
        named = {ours: self.fields[theirs] for ours, theirs in columns.items() if theirs in self.fields}
        return replace(self, fields=own | named, names=columns)

    def error(self, message: str) -> RowError:
        """The complaint, with the place in front."""
        return RowError(f"{self.place}: {message}")

    def has(self, column: str) -> bool:
        """True if the column is there."""
        return column in self.fields

    def value(self, column: str) -> Any:
        """The value of a required column."""
        if column not in self.fields:
            named = f" (data.columns.{column}={self.names[column]})" if column in self.names else ""
            there = ", ".join(map(str, self.fields))
            raise self.error(f"the column {column}{named} is missing or empty (columns: {there})")
        return self.fields[column]

    def text(self, column: str) -> str:
        """A text that is not empty."""
        return self.checked_text(self.value(column), column)

    def checked_text(self, value: Any, what: str) -> str:
        """``value`` if it is a text that is not empty and that a tokenizer can read."""
        if not isinstance(value, str):
            raise self.error(f"{what} must be a text, not {type(value).__name__}")
        if not value.strip():
            raise self.error(f"{what} is empty: drop the line or fill it")
        return self.encodable(value, what)

    def encodable(self, value: str, what: str) -> str:
        """``value``, unless it holds half of a surrogate pair, which JSON can escape and no tokenizer can read."""
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            code = f"\\u{ord(value[error.start]):04x}"
            raise self.error(f"{what} holds {code}, not a character: repair the text or drop the line") from error
        return value

    def choice(self, column: str) -> int:
        """0 or 1."""
        value = self.value(column)
        if self.texts_only and value in ("0", "1"):
            return int(value)
        if isinstance(value, bool) or value not in (0, 1):
            raise self.error(f"{column} is {reprlib.repr(value)}: it must be 0 or 1")
        return int(value)

    def flag(self, column: str) -> bool:
        """True or false."""
        value = self.value(column)
        if self.texts_only and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if not isinstance(value, bool):
            raise self.error(f"{column} is {reprlib.repr(value)}: it must be true or false")
        return value

    def word(self, column: str, meanings: Mapping[str, Meaning]) -> Meaning:
        """What one of some words, in any case, means."""
        value = self.value(column)
        key = value.strip().lower() if isinstance(value, str) else None
        if key is None or key not in meanings:
            raise self.error(f"{column} is {reprlib.repr(value)}: it must be one of {', '.join(meanings)}")
        return meanings[key]

    def number(self, column: str) -> float:
        """A finite number."""
        value = self.value(column)
        try:
            number = float(value) if self.texts_only or isinstance(value, int | float) else float("nan")
        except (ValueError, OverflowError):
            number = float("nan")
        if isinstance(value, bool) or not abs(number) < float("inf"):
            raise self.error(f"{column} is {reprlib.repr(value)}: it must be a number")
        return number

    def flags(self, column: str) -> dict[str, bool]:
        """An object of names with true or false each, such as a response's harm categories."""
        value = self.structure(column)
        if not isinstance(value, dict) or not value or not all(isinstance(flag, bool) for flag in value.values()):
            raise self.error(f"{column} must be an object with true or false for each name: {reprlib.repr(value)}")
        return {str(name): flag for name, flag in value.items()}

    def labels(self, constraints: Sequence[str], words: LabelWords | None = None) -> tuple[float, ...]:
        """The column ``label``: 1.0 for Unsafe, 0.0 for Safe, by constraint.

        Args:
            constraints: their names.
            words: what other values mean.

        Raises:
            LeftOut: a label is one of those that ``data.labels`` skips.
            RowError: a label's meaning is unknown.
        """
        words = words or LabelWords()
        value = self.value("label") if len(constraints) == 1 else self.structure("label")
        if len(constraints) == 1 and not isinstance(value, dict):
            return (self._label(value, "label", words),)
        if not isinstance(value, dict) or set(value) != set(constraints):
            names = ", ".join(constraints)
            raise self.error(f"label must be an object with a label for each of {names}: {reprlib.repr(value)}")
        return tuple(self._label(value[name], f"label.{name}", words) for name in constraints)

    def prompt(self, column: str = "prompt") -> Prompt:
        """A text, or a conversation that ends with the user's turn."""
        value = self.turns(column)
        if not isinstance(value, list):
            return self.text(column)
        return self.conversation(value, "a conversation as prompt", last="user")

    def turns(self, column: str) -> Any:
        """The value of a column that may hold turns: where the format knows texts alone, turns are JSON in one."""
        value = self.value(column)
        if self.texts_only and re.match(r'\s*\[\s*\{\s*"(role|content)"', str(value)):
            return self.structure(column)
        return value

    def messages(self, column: str, last: str) -> Messages:
        """A conversation whose last turn is that of the role ``last``."""
        return self.conversation(self.structure(column), column, last)

    def conversation(self, turns: Any, what: str, last: str) -> Messages:
        """The checked turns: a system turn first if there is one, texts that are not empty, ``last`` at the end."""
        if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict) or turns[-1].get("role") != last:
            raise self.error(f"{what} must be a list of turns that ends with the {last}'s")
        turns = [present(turn) if isinstance(turn, dict) else turn for turn in turns]
        for number, turn in enumerate(turns):
            if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
                raise self.error(f"a turn must have role and content, nothing else: {reprlib.repr(turn)}")
            if not all(isinstance(part, str) and part.strip() for part in turn.values()):
                raise self.error("role and content of a turn must be texts that are not empty")
            if turn["role"] not in ROLES or (turn["role"] == "system" and number > 0):
                raise self.error(
                    f"the role of a turn is {reprlib.repr(turn['role'])}: it must be user or assistant, or system in "
                    "the first turn"
                )
            self.encodable(turn["content"], "content of a turn")
        return tuple(turns)

    def structure(self, column: str) -> Any:
        """A value that may be a list or an object; where the format knows texts alone, it is JSON in a text."""
        value = self.value(column)
        if not self.texts_only:
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise self.error(f"{column} must be a list or an object as JSON: {reprlib.repr(value)}") from error

    def _label(self, value: Any, what: str, words: LabelWords) -> float:
        meaning = words.meaning(value)
        if meaning is None:
            raise self.error(f"{what} {words.complaint(value)}")
        if meaning == SKIP:
            raise LeftOut(f"{what} is {reprlib.repr(value)}, which data.labels skips")
        return float(meaning == UNSAFE)


@dataclass(frozen=True)
class Line:
    """A row with its checked prompt."""

    record: Record
    prompt: Prompt


def as_prompt(turns: Messages) -> Prompt:
    """A conversation as a prompt: a single turn is its text."""
    return turns[0]["content"] if len(turns) == 1 else turns


# Rows that are left out: those that carry nothing, and broken ones where ``data.bad_rows=skip``. None silently.

Item = TypeVar("Item", Record, Line)
Made = TypeVar("Made")


class LeftOut(Exception):  # noqa: N818  # no error: the row is well formed, and says nothing
    """A row that carries nothing of the kind asked for, such as a pair without a better response; says why."""


class Sieve:
    """Keeps what can be made of rows, and counts the others.

    Args:
        skips: leave broken rows out; else the first one is an error.

    Attributes:
        left_out: how many rows were left out and why, by split.
    """

    def __init__(self, skips: bool) -> None:
        self.skips = skips
        self.left_out: dict[Split, Counter[str]] = {}

    def keep(self, split: Split, items: Sequence[Item], make: Callable[[Item], Made]) -> list[Made]:
        """``make`` of every item, without those that it leaves out; a warning counts these.

        Raises:
            UserError: nothing is left.
        """
        kept: list[Made] = []
        reasons: Counter[str] = Counter()
        first = ""
        for item in items:
            place = item.record.place if isinstance(item, Line) else item.place
            try:
                kept.append(make(item))
                continue
            except LeftOut as left_out:
                reason = str(left_out)
            except RowError as error:
                if not self.skips:
                    raise
                reason = str(error).removeprefix(f"{place}: ")
            reasons[reason] += 1
            first = first or f"{place}: {reason}"
        if not reasons:
            return kept
        self.left_out.setdefault(split, Counter()).update(reasons)
        told = f"data.{split}: {reasons.total()} of {len(items)} rows are left out; the first: {first}"
        if not kept:
            raise UserError(told)
        warnings.warn(told, InputWarning, stacklevel=2)
        return kept
