"""Rows from where a split lies: a text or Parquet file, a ``datasets`` folder, or a set on the Hub.

The extension or the kind of place tells the format. Whatever it is, rows come out as :class:`Record`.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError
from csrlhf.runs.artifacts import folder_hash

# Tables that are text: JSON Lines (one object per line) and CSV (RFC 4180, column names in the first line).

LONGEST_CELL = 2**31 - 1
"""Python's csv module refuses cells above 128 KiB by itself; documents can be longer."""


def read_jsonl(path: Path) -> list[Record]:
    """Every line of a JSON Lines file, blank ones left out.

    Raises:
        UserError: a line is not a JSON object, the file is not UTF-8, or is empty.
    """
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    numbered = enumerate(_text(path).split("\n"), start=1)
    records = [_parse(f"{path}:{number}", line) for number, line in numbered if line.strip()]
    if not records:
        raise UserError(f"{path} is empty: it needs one JSON object per line")
    return records


def read_csv(path: Path) -> list[Record]:
    """Every row of a CSV file, blank lines left out. An empty cell is an empty text, not an absent column.

    Raises:
        UserError: a row has more or fewer cells than the first line has names, quotes are broken, the file is not
            UTF-8, or has no rows.
    """
    previous = csv.field_size_limit(LONGEST_CELL)
    try:
        return _rows(path)
    finally:
        csv.field_size_limit(previous)


def _rows(path: Path) -> list[Record]:
    numbered = _numbered_rows(path)
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
                "texts with commas or line breaks in quotes, and leave no cell out"
            )
        records.append(Record(f"{path}:{number}", dict(zip(names, cells, strict=True)), texts_only=True))
    if not records:
        raise UserError(f"{path} has no rows: it needs one below the line with the column names")
    return records


def _numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line that they begin in (a quoted text can span several)."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
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


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def _parse(place: str, text: str) -> Record:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: broken JSON at column {error.colno} ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{place}: lists or objects are nested too deep: drop the line") from error
    except ValueError as error:  # Python reads whole numbers of some thousand digits and no longer ones
        raise UserError(f"{place}: a number is too long: drop the line") from error
    if not isinstance(fields, dict):
        raise UserError(f"{place}: a line must be a JSON object, not {type(fields).__name__}")
    return Record(place, fields)


# Tables in Arrow's formats: Parquet files, folders of the ``datasets`` library, and data sets on the Hub.
#
# Needs the extra ``data``; it is imported when a table is read, so that nobody else has to have it. An empty field
# (null) counts as an absent column: the formats give every row all columns.

STATE = "state.json"
"""What ``Dataset.save_to_disk`` writes beside its Arrow files; it names them."""


def read_parquet(path: Path) -> list[Record]:
    """Every row of a Parquet file.

    Raises:
        UserError: the file is none, is damaged, or has no rows.
    """
    pyarrow = _library(f"reading {path}")
    parquet = _library(f"reading {path}", "pyarrow.parquet")
    return _records(str(path), lambda: [parquet.read_table(path)], pyarrow, "a Parquet file")


def read_folder(folder: Path) -> list[Record]:
    """Every row of a folder that ``Dataset.save_to_disk`` wrote.

    Raises:
        UserError: the folder is none, holds several splits, is damaged, or has no rows.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.parent.name for path in folder.glob(f"*/{STATE}"))
        raise UserError(f"{folder}: holds the splits {', '.join(splits)}: name one of them, {folder}/<split>")
    if not (folder / STATE).is_file():
        raise UserError(
            f"{folder}: is not a folder of the datasets library (it has no {STATE}): write one with save_to_disk"
        )
    pyarrow, ipc = _library(f"reading {folder}"), _library(f"reading {folder}", "pyarrow.ipc")

    def tables() -> Iterable[Any]:
        for name in _data_files(folder):
            with pyarrow.memory_map(str(folder / name)) as source:
                yield ipc.open_stream(source).read_all()

    return _records(str(folder), tables, pyarrow, "a folder of the datasets library")


def read_hub(location: str) -> list[Record]:
    """Every row of a data set on the Hub, downloaded once and kept in the library's cache.

    Args:
        location: ``owner/name:split``, ``owner/name/configuration:split`` where the set has several configurations.

    Raises:
        UserError: the library is missing, or the set is neither reachable nor in the cache.
    """
    return [
        Record(f"{location}, row {number}", {key: value for key, value in row.items() if value is not None})
        for number, row in enumerate(_load(location), start=1)
    ]


def hub_hash(location: str) -> str:
    """sha256 of a data set on the Hub: of its contents, wherever the cache lies."""
    digest, table = hashlib.sha256(), _load(location)
    for cached in table.cache_files:
        with Path(cached["filename"]).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    if not table.cache_files:  # a small one can be held in memory
        digest.update(json.dumps(table[:], default=str).encode())
    return digest.hexdigest()


def _load(location: str) -> Any:
    datasets = _library(f"{location} is on the Hub, and reading it", "datasets")
    from huggingface_hub.errors import HfHubHTTPError

    name, _, split = location.partition(":")
    owner, title, *configuration = name.split("/")
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(f"{owner}/{title}", *configuration, split=split or None)
    except (OSError, ValueError, HfHubHTTPError) as error:  # offline, unknown name, configuration or split
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{location}: cannot load it from the Hub or its cache ({reason}); check name, split and connection, or "
            "name a file"
        ) from error


def _records(where: str, tables: Callable[[], Iterable[Any]], pyarrow: ModuleType, what: str) -> list[Record]:
    records: list[Record] = []
    try:
        for table in tables():
            table.validate(full=True)  # damaged offsets would else be followed
            for row in table.to_pylist():
                fields = {key: value for key, value in row.items() if value is not None}
                records.append(Record(f"{where}, row {len(records) + 1}", fields))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{where}: is not {what}, or is damaged ({reason})") from error
    if not records:
        raise UserError(f"{where} has no rows")
    return records


def _data_files(folder: Path) -> list[str]:
    """The Arrow files that the folder's state names, all of them inside the folder."""
    wrong = UserError(f"{folder / STATE}: is damaged: write the folder again with save_to_disk")
    try:
        state = json.loads((folder / STATE).read_bytes())
    except (ValueError, RecursionError) as error:
        raise wrong from error
    files = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise wrong
    names = [file.get("filename") for file in files]
    if not all(isinstance(name, str) and Path(name).name == name and (folder / name).is_file() for name in names):
        raise wrong
    return names


def _library(purpose: str, name: str = "pyarrow") -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{purpose} needs the library {name}: pip install 'csrlhf[data]'") from error


READERS: dict[str, Callable[[Path], list[Record]]] = {
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)?:\w[\w.-]*")


def check_location(key: str, location: str) -> str:
    """Return ``location``, or say what is wrong with it before any row is read.

    Args:
        key: what set it, for the message: ``data.train``.
        location: a path, or ``owner/name:split``.

    Raises:
        UserError: there is no such file, or its extension is unknown.
    """
    path = Path(location).expanduser()
    if path.is_dir() or is_hub_name(location):
        return location
    if not path.is_file():
        raise UserError(f"{key}: there is no file {path} (a data set on the Hub is owner/name:split)")
    if path.suffix.lower() not in READERS:
        raise UserError(f"{key}={path}: a file's extension tells its format; name a {', '.join(READERS)} file")
    return location


def is_hub_name(location: str) -> bool:
    """True for ``owner/name:split``, unless such a file exists."""
    return HUB_NAME.fullmatch(location) is not None and not Path(location).exists()


def read_records(location: str) -> list[Record]:
    """All rows of a checked location.

    Raises:
        UserError: something in it cannot be read; the message names file and line.
    """
    if is_hub_name(location):
        return read_hub(location)
    path = Path(location).expanduser()
    return read_folder(path) if path.is_dir() else READERS[path.suffix.lower()](path)


def content_hash(location: str) -> str:
    """sha256 of what a checked location holds."""
    if is_hub_name(location):
        return hub_hash(location)
    path = Path(location).expanduser()
    return folder_hash(path) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
