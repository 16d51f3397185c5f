"""One run of a sweep as a command, and the record that says how it ended.

A run is known by its parameters, so a longer grid keeps what a shorter one has made. Its record holds what the result
depends on: other words, other models or another version make it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs.artifacts import RECORD, write_json
from csrlhf.runs.processes import run_program
from csrlhf.sweeping.outcome import read_outcome
from csrlhf.sweeping.pool import thread_variables
from csrlhf.sweeping.spec import words_of
from csrlhf.sweeping.table import FAILED, FINISHED

LONGEST_NAME = 80


@dataclass(frozen=True)
class Task:
    """One command of a sweep.

    Attributes:
        stage: ``ppo``, or that of a model which all runs read.
        name: of the run, or the stage.
        out: the sweep's folder.
        start: the command before the overrides: ``train.py``, or ``-m csrlhf``.
        words: overrides.
        result: folder that the command fills.
        parameters: of the run.
        depends: what the result depends on beside the parameters, as the record keeps it.
    """

    stage: str
    name: str
    out: Path
    start: tuple[str, ...]
    words: tuple[str, ...]
    result: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    depends: Mapping[str, Any] = field(default_factory=dict)

    @property
    def why_needless(self) -> str:
        return ""

    @property
    def title(self) -> str:
        return self.name

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.out / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """How the run ended."""
        return self.out / "records" / f"{self.name}.json"

    def done(self) -> bool:
        """Whether the result stands; a model that all runs read stands wherever it was made."""
        if self.stage != "ppo":
            return (self.result / RECORD).is_file()
        if not (self.result / "metrics.json").is_file():
            return False
        record = self.ended()
        return record is not None and record["status"] == FINISHED and record["depends"] == self.depends

    def needless(self) -> bool:
        """Never: every point of a sweep is somebody's."""
        return False

    def ended(self) -> dict[str, Any] | None:
        """The record, None where there is none."""
        return json.loads(self.record.read_text(encoding="utf-8")) if self.record.is_file() else None

    def finish(self, seconds: float, threads: int) -> None:
        """Leave the record with the run's row.

        Raises:
            UserError: the program ended well and left no result.
        """
        if self.stage == "ppo":
            self._write(FINISHED, seconds, threads, read_outcome(self.result) | {"folder": str(self.result)})
        elif not self.done():
            raise UserError(f"{self.log}: stage={self.stage} ended well and left no result in {self.result}")

    def fail(self, code: int) -> None:
        """Leave the record of a failure."""
        if self.stage == "ppo":
            self._write(FAILED, None, None, {"exit_code": code, "log": str(self.log)})

    def _write(self, status: str, seconds: float | None, threads: int | None, row: Mapping[str, Any]) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        content = {"status": status, "parameters": self.parameters, "depends": self.depends, "row": row}
        draft = self.record.with_suffix(".tmp")
        write_json(draft, content | {"seconds": seconds, "threads": threads})
        draft.replace(self.record)


def run_task(task: Task, threads: int) -> int:
    """The command in a process of its own, with its output in the task's log."""
    words = [sys.executable, "-m", "csrlhf.sweeping.logged", str(task.log), *task.start, *task.words]
    return run_program(words, os.environ | thread_variables(threads))


def run_name(parameters: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A folder's name: ``multiplier=4.0+threshold=0.03``, or a hash where that is long or no folder's name."""
    short = {key: key.rsplit(".", 1)[-1] for key in varied}
    if len(set(short.values())) < len(short):
        short = {key: key for key in varied}
    name = "+".join(f"{short[key]}={parameters[key]}" for key in sorted(varied))
    if name and len(name) <= LONGEST_NAME and re.fullmatch(r"\w[\w.=+-]*", name):
        return name
    return "run-" + hashlib.sha256(json.dumps(words_of(parameters)).encode()).hexdigest()[:10]
