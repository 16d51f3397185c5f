"""Tables that are text: JSON Lines (one object per line), JSON arrays, CSV (RFC 4180, column names first), and TSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csrlhf.data.tables.contents import text_of
from csrlhf.data.tables.record import Record, present
from csrlhf.errors import UserError

LONGEST_CELL = 2**31 - 1
"""Python's csv module refuses cells above 128 KiB by itself; documents can be longer."""


def read_jsonl(path: Path) -> list[Record]:
    """Every line of a JSON Lines file, blank ones left out.

    Raises:
        UserError: a line is not a JSON object, the file is not UTF-8, or is empty.
    """
    return _lines(path, text_of(path))


def _lines(path: Path, text: str) -> list[Record]:
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    numbered = enumerate(text.split("\n"), start=1)
    records = [_parse(f"{path}:{number}", line) for number, line in numbered if line.strip()]
    if not records:
        raise UserError(f"{path} is empty: it needs one JSON object per line")
    return records


def read_json(path: Path) -> list[Record]:
    """Every object of a JSON array; a file without one is read as JSON Lines, which some call ``.json`` as well.

    Raises:
        UserError: the file is neither, an entry is no object, or there is none.
    """
    text = text_of(path)
    if not text.lstrip().startswith("["):
        try:
            return _lines(path, text)
        except UserError as error:
            if not _is_json(text):
                raise
            raise UserError(
                f"{path}: holds one JSON value and no array: write [{{...}}, {{...}}], or one object per line in a "
                ".jsonl file"
            ) from error
    rows = _json(str(path), text)
    if not rows:
        raise UserError(f"{path} is empty: it needs an array of JSON objects")
    return [_record(f"{path}, item {number}", "an item of the array", row) for number, row in enumerate(rows, start=1)]


def read_csv(path: Path) -> list[Record]:
    """Every row of a CSV file, blank lines left out. An empty cell is an absent column, as null is in other formats.

    Raises:
        UserError: a row has more or fewer cells than the first line has names, quotes are broken, the file is not
            UTF-8, or has no rows.
    """
    return _rows(path, ",")


def read_tsv(path: Path) -> list[Record]:
    """Likewise of a file with tabs in the place of commas."""
    return _rows(path, "\t")


def _rows(path: Path, delimiter: str) -> list[Record]:
    previous = csv.field_size_limit(LONGEST_CELL)
    try:
        return _records(path, _numbered_rows(path, delimiter), "tabs" if delimiter == "\t" else "commas")
    finally:
        csv.field_size_limit(previous)


def _records(path: Path, numbered: Iterator[tuple[int, list[str]]], delimiters: str) -> list[Record]:
    _, names = next(numbered, (1, []))
    if not names:
        raise UserError(f"{path} is empty: it needs a line with the column names, and one row for each entry below it")
    if not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise UserError(f"{path}:1: the first line must name every column, each name once: {', '.join(names)}")
    records = []
    for number, cells in numbered:
        if len(cells) != len(names):
            raise UserError(
                f"{path}:{number}: the row has {len(cells)} cells and the first line names {len(names)} columns: put "
                f"texts with {delimiters} or line breaks in quotes, and leave no cell out"
            )
        fields = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
        records.append(Record(f"{path}:{number}", fields, texts_only=True))
    if not records:
        raise UserError(f"{path} has no rows: it needs one below the line with the column names")
    return records


def _numbered_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line that they begin in (a quoted text can span several)."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True, delimiter=delimiter)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}:{number}: broken CSV ({error}): check the quotes from this line on") from error
        if cells:
            yield number, cells


def _parse(place: str, text: str) -> Record:
    return _record(place, "a line", _json(place, text))


def _record(place: str, what: str, fields: Any) -> Record:
    if not isinstance(fields, dict):
        raise UserError(f"{place}: {what} must be a JSON object, not {type(fields).__name__}")
    return Record(place, present(fields))


def _json(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{place}: broken JSON at {where} ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{place}: lists or objects are nested too deep: drop the line") from error
    except ValueError as error:  # Python reads whole numbers of some thousand digits and no longer ones
        raise UserError(f"{place}: a number is too long: drop the line") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
