"""Rows from where a split lies: a text or Parquet file, a ``datasets`` folder, or a set on the Hub.

The extension or the kind of place tells the format. Whatever it is, rows come out as :class:`Record`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from csrlhf.data.tables.arrow import hub_hash, read_folder, read_hub, read_parquet
from csrlhf.data.tables.contents import COMPRESSED, extensions
from csrlhf.data.tables.record import Record
from csrlhf.data.tables.text import read_csv, read_json, read_jsonl, read_tsv
from csrlhf.errors import UserError
from csrlhf.runs.artifacts import folder_hash

READERS: dict[str, Callable[[Path], list[Record]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
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
    if extensions(path)[0] not in READERS:
        raise UserError(
            f"{key}={path}: a file's extension tells its format; name a {', '.join(READERS)} file, compressed or not "
            f"({', '.join(COMPRESSED)} behind it)"
        )
    return location


def is_hub_name(location: str) -> bool:
    """True for ``owner/name:split``, unless such a file exists."""
    return HUB_NAME.fullmatch(location) is not None and not Path(location).exists()


def read_records(location: str, hub_options: Mapping[str, Any] | None = None) -> list[Record]:
    """All rows of a checked location.

    Args:
        location: a path, or ``owner/name:split``.
        hub_options: of ``datasets.load_dataset``, for sets on the Hub.

    Raises:
        UserError: something in it cannot be read; the message names file and line.
    """
    if is_hub_name(location):
        return read_hub(location, hub_options or {})
    path = Path(location).expanduser()
    return read_folder(path) if path.is_dir() else READERS[extensions(path)[0]](path)


def content_hash(location: str, hub_options: Mapping[str, Any] | None = None) -> str:
    """sha256 of what a checked location holds; arguments as of :func:`read_records`."""
    if is_hub_name(location):
        return hub_hash(location, hub_options or {})
    path = Path(location).expanduser()
    return folder_hash(path) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
