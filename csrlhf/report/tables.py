"""Tables, and matrices with shaded cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar

from csrlhf.report.blocks import Block
from csrlhf.report.numbers import MISSING, check_style, finite, is_number, reads_as_number, show

SHADES = 10
"""Steps of a matrix's colour, from none to full."""


@dataclass(frozen=True)
class Cell:
    """One cell as it is shown.

    Attributes:
        words: the text.
        number: whether it stands to the right.
        shade: 0 to ``SHADES``.
    """

    words: str
    number: bool = False
    shade: int = 0


@dataclass(frozen=True)
class Table(Block):
    """Rows under column heads; on a phone it scrolls in its own box.

    Example:
        ``Table(["category", "unsafe"], [["plain", 0.012]], formats={"unsafe": "percent"})``

    Attributes:
        columns: the heads.
        rows: one value a column: text, a number, None.
        caption: what the table shows.
        formats: how a column's numbers are written: ``percent`` or 0 to 6 decimals.
        name: its key in W&B; the caption's first words where it is empty.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    formats: Mapping[str, str | int] = field(default_factory=dict)
    name: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for column, style in self.formats.items():
            if column not in self.columns:
                raise ValueError(f"table {self.caption!r}: formats names {column!r}, which is not a column")
            check_style(style)
        for row in self.rows:
            if len(row) != len(self.columns):
                counts = f"{len(row)} values for {len(self.columns)} columns"
                raise ValueError(f"table {self.caption!r}: a row has {counts}: {list(row)!r}")

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows as they are shown."""
        styles, rights = [self.formats.get(column) for column in self.columns], self.right
        return [
            [Cell(show(value, style), right) for value, style, right in zip(row, styles, rights, strict=True)]
            for row in self.rows
        ]

    @property
    def right(self) -> list[bool]:
        """Whether a column stands to the right: numbers, and words that read as such (``1.2 % (0.4 to 3)``)."""
        columns = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        filled = [[show(value) for value in column if value is not None] for column in columns]
        words = [[word for word in column if word not in ("", MISSING)] for column in filled]
        return [
            number or (bool(column) and all(reads_as_number(word) for word in column))
            for number, column in zip(self.numeric, words, strict=True)
        ]

    @property
    def key(self) -> str:
        """What it is called in a tracker."""
        return self.name or words_key(self.caption, "table")

    @property
    def plain(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows for a tracker: numbers (None for NaN) or text in a column, never both."""
        numbers = self.numeric
        rows = [[_plain(value, number) for value, number in zip(row, numbers, strict=True)] for row in self.rows]
        return list(self.columns), rows

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers and nothing else, apart from gaps."""
        columns = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        filled = [[value for value in column if value is not None] for column in columns]
        return [bool(column) and all(is_number(value) for value in column) for column in filled]


@dataclass(frozen=True)
class Matrix(Block):
    """Numbers by row and column, shaded from the smallest (none) to the largest.

    Attributes:
        rows: names of the rows.
        columns: names of the columns.
        values: one list a row; None or NaN for a gap.
        caption: what the matrix shows.
        format: how numbers are written: ``percent``, 0 to 6 decimals, or None.
        corner: what rows and columns are, e.g. ``λ by threshold``.
        name: its key in W&B; the caption's first words where it is empty.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[Any]]
    caption: str = ""
    format: str | int | None = None
    corner: str = ""
    name: str = ""
    kind: ClassVar[str] = "matrix"

    def __post_init__(self) -> None:
        check_style(self.format)
        if len(self.values) != len(self.rows) or any(len(row) != len(self.columns) for row in self.values):
            raise ValueError(
                f"matrix {self.caption!r}: values must be {len(self.rows)} rows of {len(self.columns)} numbers"
            )

    @property
    def key(self) -> str:
        """What it is called in a tracker."""
        return self.name or words_key(self.caption, "matrix")

    @property
    def plain(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows for a tracker; the first column names the rows."""
        rows = [
            [name, *(_plain(value, True) for value in row)] for name, row in zip(self.rows, self.values, strict=True)
        ]
        return [self.corner or "row", *self.columns], rows

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows as they are shown."""
        found = [number for row in self.values for value in row if (number := finite(value)) is not None]
        low, high = min([0.0, *found]), max([0.0, *found])
        reach = high - low or 1.0

        def shade(value: Any) -> int:
            number = finite(value)
            return 0 if number is None else round(SHADES * (number - low) / reach)

        return [[Cell(show(value, self.format), True, shade(value)) for value in row] for row in self.values]


def words_key(words: str, otherwise: str) -> str:
    """The first words of a caption as a key: ``Unsafe rate by category.`` is ``unsafe_rate_by_category``."""
    found = re.findall(r"[a-z0-9]+", words.lower())[:5]
    return "_".join(found) or otherwise


def _plain(value: Any, number: bool) -> Any:
    if number:
        return int(value) if isinstance(value, Integral) else finite(value)
    return show(value)
