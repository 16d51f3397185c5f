"""W&B runs recorded offline, read back with W&B's own reader."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wandb.util import get_core_path

PATIENCE = 60.0
"""Seconds for a file to be whole."""


@dataclass
class RecordedRun:
    """What stands in a run's file.

    Attributes:
        info: group, job type, tags, name, git commit.
        config: as W&B shows it.
        summary: the last values, and the best ones where they are defined.
        history: logged rows.
        artifacts: logged or used artifacts.
        metrics: definitions of axes and summaries.
        kinds: how many records of each kind there are.
        state: ``finished``, ``failed``, ...
    """

    info: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    state: str = ""

    def logged_keys(self) -> set[str]:
        """All keys that were logged."""
        return {key for row in self.history for key in row}


def read_run(folder: Path) -> RecordedRun:
    """Reads ``wandb/offline-run-...`` with what ``wandb leet inspect --json`` calls."""
    [file] = folder.glob("*.wandb")
    words = [get_core_path(), "leet", "inspect", "-no-observability", "-json", "-run-file", str(file)]

    def inspect(*options: str) -> str:
        return subprocess.run([*words, *options], capture_output=True, text=True, check=True).stdout

    # W&B's server may still be writing when the run has returned: the record of its exit is the last one.
    records: list[dict[str, Any]] = []
    patience = time.monotonic() + PATIENCE
    while not any(record["type"] == "exit" for record in records) and time.monotonic() < patience:
        time.sleep(0.0 if not records else 0.2)
        records = [json.loads(line) for line in inspect().splitlines()]
    run = RecordedRun()
    for record in records:
        kind = record["type"]
        content = record.get(kind, {})
        run.kinds[kind] = run.kinds.get(kind, 0) + 1
        if kind == "run":
            run.info |= content
        elif kind == "history":
            run.history.append(content["item"])
        elif kind == "artifact":
            run.artifacts.append(content)
        elif kind == "metric":
            run.metrics.append(content)
    whole = json.loads(inspect("-summary"))
    run.config, run.summary, run.state = whole["config"], whole["summary"], whole["state"]
    return run


@pytest.fixture(scope="session")
def recorded() -> Callable[[Path], RecordedRun]:
    """``recorded(folder)``: a run that was recorded offline."""
    return read_run
