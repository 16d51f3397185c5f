"""How a comparison's commands are run, and what they take; the pool itself is the sweeps' (csrlhf/sweeping/pool.py)."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.comparison.jobs import Job
from csrlhf.runs.processes import run_program
from csrlhf.sweeping import pool
from csrlhf.sweeping.pool import thread_variables

ROOT = Path(__file__).resolve().parent.parent.parent

SECONDS = {"sft": 170.0, "reward": 60.0, "cost": 70.0, "ppo": 220.0, "evaluate": 8.0}
"""What a stage takes at full size on one idle core, until this folder's own records tell better."""

Runner = Callable[[Job, int], int]
"""Runs one command with so many threads and returns its exit code."""


def run_job(job: Job, threads: int) -> int:
    """``python train.py ...`` with its output in the job's log."""
    words = [sys.executable, str(ROOT / "train.py"), *job.words()]
    return run_program(words, os.environ | thread_variables(threads), job.log)


def pin_threads(threads: int) -> None:
    """Every process that is started from now on computes with so many threads."""
    pool.pin_threads(threads, ROOT)


class Pool(pool.Pool[Job]):
    """Runs what is missing.

    Args:
        workers: commands side by side.
        threads: of each.
        run: runs a command.
        seconds: what each stage takes, for the time left.
    """

    def __init__(
        self, workers: int, threads: int, run: Runner = run_job, seconds: dict[str, float] | None = None
    ) -> None:
        super().__init__(workers, threads, run, seconds or SECONDS)


def measured_seconds(jobs: Iterable[Job], threads: int, usual: dict[str, float]) -> dict[str, float]:
    """What each stage has taken in the finished commands, by median; the usual figure where none is finished."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        if job.done():
            record = json.loads(job.record.read_text(encoding="utf-8"))
            if record["threads"] == threads:
                found.setdefault(job.stage, []).append(record["seconds"])
    return usual | {stage: statistics.median(values) for stage, values in found.items()}
