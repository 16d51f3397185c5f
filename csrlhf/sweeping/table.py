"""``runs.csv``: one row a run, and back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs.artifacts import write_whole
from csrlhf.sweeping.outcome import Row, read_outcome

FILE = "runs.csv"
FIRST = ("id", "status", "overrides", "seconds", "strategy", "multiplier")
FINISHED, FAILED = "finished", "failed"


def write_runs(path: Path, rows: Sequence[Row]) -> None:
    """Writes all rows at once, by one rename; what is undefined is left empty."""
    columns = dict.fromkeys([*FIRST, *(key for row in rows for key in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


def read_runs(path: Path) -> list[Row]:
    """Reads the rows back: numbers are numbers, empty cells are left out.

    Raises:
        UserError: names the file and what is wrong.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := {"id", "status"} - set(reader.fieldnames or ()):
            raise UserError(f"{path}: no table of runs, the column {min(missing)} is missing")
        return [{key: _value(key, cell) for key, cell in row.items() if cell} for row in reader]


def rows_in(folder: Path) -> list[Row]:
    """The rows of a sweep's folder, or of any folder of ``stage=ppo`` runs (``artifacts/ppo``).

    Raises:
        UserError: there is neither.
    """
    if (folder / FILE).is_file():
        return read_runs(folder / FILE)
    runs = [path for path in sorted(folder.glob("*")) if (path / "metrics.json").is_file() and not path.is_symlink()]
    if not runs:
        raise UserError(f"{folder}: neither a sweep's folder (with {FILE}) nor one of finished runs (artifacts/ppo)")
    return [{"id": path.name, "status": FINISHED, "folder": str(path), **read_outcome(path)} for path in runs]


def number(row: Mapping[str, Any], key: str) -> float:
    """A cell as a number, NaN where it is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value


def _value(key: str, cell: str) -> Any:
    if key in ("id", "overrides", "strategy", "folder"):
        return cell
    try:
        return float(cell)
    except ValueError:
        return cell
