"""A line of a JSON Lines file whose fields are checked as they are read: every complaint names file and line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.types import Prompt

LABELS = {"safe": 0.0, "unsafe": 1.0}


@dataclass(frozen=True)
class Line:
    """One object of a file.

    Attributes:
        path: the file.
        number: counted from 1, as editors do.
        fields: the object.
        prompt: its checked ``prompt``.
    """

    path: Path
    number: int
    fields: dict[str, Any]
    prompt: Prompt

    def error(self, message: str) -> UserError:
        """The complaint, with file and line in front."""
        return UserError(f"{self.path}:{self.number}: {message}")

    def has(self, column: str) -> bool:
        """True if the column is there."""
        return column in self.fields

    def text(self, column: str) -> str:
        """A text that is not empty."""
        if column not in self.fields:
            raise self.error(f"the column {column} is missing (columns: {', '.join(self.fields)})")
        value = self.fields[column]
        if not isinstance(value, str):
            raise self.error(f"{column} must be a text, not {type(value).__name__}")
        if not value.strip():
            raise self.error(f"{column} is empty: drop the line or fill it")
        return self.encodable(value, column)

    def encodable(self, value: str, column: str) -> str:
        """``value``, unless it holds half of a surrogate pair, which JSON can escape and no tokenizer can read."""
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            code = f"\\u{ord(value[error.start]):04x}"
            raise self.error(
                f"{column} holds {code}, which is no character: repair the text or drop the line"
            ) from error
        return value

    def labels(self, constraints: Sequence[str]) -> tuple[float, ...]:
        """1.0 for Unsafe, 0.0 for Safe, by constraint."""
        value = self.fields["label"]
        if len(constraints) == 1 and not isinstance(value, dict):
            return (self._label(value, "label"),)
        if not isinstance(value, dict) or set(value) != set(constraints):
            raise self.error(f"label must be an object with a label for each of {', '.join(constraints)}: {value!r}")
        return tuple(self._label(value[name], f"label.{name}") for name in constraints)

    def choice(self, column: str) -> int:
        """0 or 1."""
        value = self.fields[column]
        if isinstance(value, bool) or value not in (0, 1):
            raise self.error(f"{column} is {value!r}: it must be 0 or 1")
        return int(value)

    def flag(self, column: str) -> bool:
        """True or false."""
        value = self.fields.get(column)
        if not isinstance(value, bool):
            raise self.error(f"{column} is {value!r}: it must be true or false")
        return value

    def _label(self, value: Any, column: str) -> float:
        key = value.strip().lower() if isinstance(value, str) else None
        if key not in LABELS:
            raise self.error(f"{column} is {value!r}: it must be Safe or Unsafe")
        return LABELS[key]


def read_lines(path: Path) -> list[Line]:
    """Every line of a file, blank ones left out.

    Raises:
        UserError: a line is not a JSON object or has no usable prompt, the file is not UTF-8, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    numbered = enumerate(text.split("\n"), start=1)
    lines = [_parse(path, number, line) for number, line in numbered if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty: it needs one JSON object per line")
    return lines


def check_labels(lines: Sequence[Line]) -> None:
    """Refuses a file in which some responses are labelled and others are not.

    A forgotten label would drop the line from the cost model's data, and make an Unsafe response one to imitate.

    Raises:
        UserError: names the first line without a label.
    """
    for response, label in (("response", "label"), ("response_0", "is_response_0_safe")):
        with_response = [line for line in lines if line.has(response)]
        missing = [line for line in with_response if not line.has(label)]
        if missing and any(line.has(label) for line in lines):
            raise missing[0].error(f"the column {label} is missing, other lines of the file have it: add it")


def _parse(path: Path, number: int, text: str) -> Line:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{number}: broken JSON at column {error.colno} ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{path}:{number}: lists or objects are nested too deep: drop the line") from error
    except ValueError as error:  # Python reads whole numbers of some thousand digits and no longer ones
        raise UserError(f"{path}:{number}: a number is too long: drop the line") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path}:{number}: a line must be a JSON object, not {type(fields).__name__}")
    return Line(path, number, fields, _prompt(Line(path, number, fields, "")))


def _prompt(line: Line) -> Prompt:
    value = line.fields.get("prompt")
    if not isinstance(value, list):
        return line.text("prompt")
    if not value or (value[-1:] and not (isinstance(value[-1], dict) and value[-1].get("role") == "user")):
        raise line.error("a conversation as prompt must be a list of turns that ends with the user's")
    for turn in value:
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise line.error(f"a turn must have role and content, nothing else: {turn!r}")
        if not all(isinstance(part, str) and part.strip() for part in turn.values()):
            raise line.error("role and content of a turn must be texts that are not empty")
        for key, part in turn.items():
            line.encodable(part, f"{key} of a turn")
    return tuple(value)
