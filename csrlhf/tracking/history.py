"""``history.csv``: every logged scalar, one row per logging call, columns in order of first appearance.

Written for every run whatever tracker is chosen; the plots are drawn from it. Rows are appended as they
come, so a killed run keeps its history; a resumed run goes on in the same file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from csrlhf.errors import writing
from csrlhf.runs.artifacts import write_whole

Row = dict[str, float]


class HistoryLogger(Logger):
    """A Lightning logger that writes one CSV file.

    Args:
        path: the file; an existing one is continued (rows at or after the first new step are dropped,
            they were logged after the checkpoint that the run went on from).
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._rows: list[Row] = read_history(self.path) if self.path.exists() else []
        self._columns: list[str] = list(dict.fromkeys(key for row in self._rows for key in row))
        self._continued = bool(self._rows)

    @property
    def columns(self) -> Sequence[str]:
        """The keys that some row carries."""
        return tuple(self._columns)

    @property
    def last_step(self) -> int:
        """The step of the newest row, 0 where there is none."""
        return int(self._rows[-1]["step"]) if self._rows else 0

    @property
    def name(self) -> str:
        return "history"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is in csrlhf.json."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends one row; a new column rewrites the file once."""
        row: Row = {"step": step if step is not None else len(self._rows)}
        row |= {key: float(value) for key, value in metrics.items() if key != "step"}
        new_columns = [key for key in row if key not in self._columns]
        self._columns += new_columns
        if self._continued:
            self._rows = [old for old in self._rows if old["step"] < row["step"]]
        self._rows.append(row)
        if new_columns or self._continued:
            self._write_all()
        else:
            with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        self._continued = False

    def _write_all(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self.path, text.getvalue().encode())


def read_history(path: Path) -> list[Row]:
    """Reads a history file; empty cells are left out of the rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
