"""Tables in Arrow's formats: Parquet files, folders of the ``datasets`` library, and data sets on the Hub.

Needs the extra ``data``; it is imported when a table is read, so that nobody else has to have it. An empty field
(null) counts as an absent column: the formats give every row all columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from csrlhf.data.tables.contents import contents, extensions, library, one_line
from csrlhf.data.tables.record import Record, present
from csrlhf.errors import UserError

STATE = "state.json"
"""What ``Dataset.save_to_disk`` writes beside its Arrow files; it names them."""


def read_parquet(path: Path) -> list[Record]:
    """Every row of a Parquet file.

    Raises:
        UserError: the file is none, is damaged, or has no rows.
    """
    pyarrow = library(f"reading {path}")
    parquet = library(f"reading {path}", "pyarrow.parquet")
    source = pyarrow.BufferReader(contents(path)) if extensions(path)[1] else path
    return _records(str(path), lambda: [parquet.read_table(source)], pyarrow, "a Parquet file")


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
    pyarrow, ipc = library(f"reading {folder}"), library(f"reading {folder}", "pyarrow.ipc")

    def tables() -> Iterable[Any]:
        for name in _data_files(folder):
            with pyarrow.memory_map(str(folder / name)) as source:
                yield ipc.open_stream(source).read_all()

    return _records(str(folder), tables, pyarrow, "a folder of the datasets library")


def read_hub(location: str, options: Mapping[str, Any]) -> list[Record]:
    """Every row of a data set on the Hub, downloaded once and kept in the library's cache.

    Args:
        location: ``owner/name:split``, ``owner/name/configuration:split`` where the set has several configurations.
        options: of ``datasets.load_dataset``: ``data_dir``, a delimiter.

    Raises:
        UserError: the library is missing, or the set is neither reachable nor in the cache.
    """
    return [
        Record(f"{location}, row {number}", present(row))
        for number, row in enumerate(_load(location, options), start=1)
    ]


def hub_hash(location: str, options: Mapping[str, Any]) -> str:
    """sha256 of a data set on the Hub: of its contents, wherever the cache lies."""
    digest, table = hashlib.sha256(), _load(location, options)
    for cached in table.cache_files:
        with Path(cached["filename"]).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    if not table.cache_files:  # a small one can be held in memory
        digest.update(json.dumps(table[:], default=str).encode())
    return digest.hexdigest()


def _load(location: str, options: Mapping[str, Any]) -> Any:
    datasets = library(f"{location} is on the Hub, and reading it", "datasets")
    from huggingface_hub.errors import HfHubHTTPError

    name, _, split = location.partition(":")
    owner, title, *configuration = name.split("/")
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(f"{owner}/{title}", *configuration, split=split or None, **options)
    except (OSError, ValueError, HfHubHTTPError) as error:  # offline, unknown name, configuration or split
        reason = one_line(error)
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
                records.append(Record(f"{where}, row {len(records) + 1}", present(row)))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = one_line(error)
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
