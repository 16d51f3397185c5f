"""The content of a local sweep's folder: how each run ended, how it was made, and the table of both."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs.artifacts import write_json
from csrlhf.sweeping.outcome import Row
from csrlhf.sweeping.spec import words_of
from csrlhf.sweeping.table import FILE, write_runs

SWEEP = "sweep.json"
SAME = ("overrides", "fixed", "inputs", "seed")


def records_in(out: Path) -> dict[str, dict[str, Any]]:
    """By run, in the order in which they ended."""
    paths = sorted((out / "records").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def write_table(out: Path) -> None:
    """``runs.csv`` from the records, of the present points and of earlier ones."""
    rows = [_row(record, name) for name, record in records_in(out).items()]
    if rows:
        write_runs(out / FILE, rows)


def seconds_of_a_run(out: Path, threads: int) -> float | None:
    """What a run with so many threads has taken in this folder, by median."""
    records = records_in(out).values()
    seconds = [one["seconds"] for one in records if one["seconds"] and one["threads"] == threads]
    return statistics.median(seconds) if seconds else None


def describe(out: Path, content: Mapping[str, Any]) -> None:
    """Writes ``sweep.json``.

    Raises:
        UserError: the folder's runs were made in another way, and are not to stand in the same table.
    """
    path = out / SWEEP
    if path.is_file() and records_in(out):
        standing = json.loads(path.read_text(encoding="utf-8"))
        for key in SAME:
            if standing[key] != content[key]:
                raise UserError(
                    f"--out {out}: its runs were made with {key} {standing[key]}, and now {content[key]} is "
                    "asked for; give the same, or name another --out"
                )
    write_json(path, dict(content))


def _row(record: Mapping[str, Any], name: str) -> Row:
    head = {"id": name, "status": record["status"], "overrides": " ".join(words_of(record["parameters"]))}
    return head | {"seconds": record["seconds"]} | dict(record["parameters"]) | dict(record["row"])
