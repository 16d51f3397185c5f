"""Stages to run as commands, and the records that say which of them are finished.

A run is three commands: ppo, the evaluation of the policy that it hands over, the evaluation of its last policy. They
need an SFT, a reward and a cost model, made once per seed. A command that ends well leaves a record, so a stopped
benchmark loses at most the command that was running, and of PPO only what came after its last checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.settings import Setting
from csrlhf import __version__
from csrlhf.runs.artifacts import write_json
from csrlhf.runs.processes import run_program
from csrlhf.sweeping import pool
from csrlhf.sweeping.pool import Command, thread_variables

WEIGHTS = "model.safetensors"
LAST = "-last"
"""Added to a run's name: the evaluation of its last policy."""


@dataclass(frozen=True)
class Job(Command):
    """One command, named after its run; for the models of a seed after the stage, and what is special about it.

    Attributes:
        seed: of everything.
        root: the artifacts folder.
        overrides: what the result depends on.
        places: where things are read and written; they may move, and the result stands.
        result: folder that the command fills.
        twin: a policy folder and the one beside it: where both hold the same weights, there is nothing to judge.
    """

    seed: int
    root: Path
    overrides: tuple[str, ...]
    places: tuple[str, ...]
    result: Path
    twin: tuple[Path, Path] | None = None

    @property
    def title(self) -> str:
        label = self.name if self.stage in self.name else f"{self.name} {self.stage}"
        return f"seed {self.seed} {label}"

    def words(self) -> list[str]:
        """Overrides of the command line; plots and sample tables of single runs are nobody's to read."""
        fixed = [f"stage={self.stage}", f"seed={self.seed}", "logger=none", "callbacks.plots=null"]
        return [*fixed, "callbacks.samples=null", "resume=true", *self.places, *self.overrides]

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.root / "logs" / f"{self.stage}-{self.name}.log"

    @property
    def record(self) -> Path:
        """Written when the command has ended well."""
        return self.root / "done" / f"{self.stage}-{self.name}.json"

    def done(self) -> bool:
        """Whether the result stands, made by this version with these overrides."""
        if not self.record.is_file() or not (self.result / "metrics.json").is_file():
            return False
        content = json.loads(self.record.read_text(encoding="utf-8"))
        return content["overrides"] == list(self.overrides) and content["version"] == __version__

    def needless(self) -> str:
        """Why the command is not needed (the last policy is the selected one, whose figures exist), else empty."""
        if self.twin is None:
            return ""
        one, other = (folder / WEIGHTS for folder in self.twin)
        same = one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
        return "the last policy is the selected one" if same else ""

    def begin(self) -> None:
        """Drop an old record, which would outlive a command that is stopped half-way."""
        self.record.unlink(missing_ok=True)

    def finish(self, seconds: float, threads: int) -> None:
        """Leave the record."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        content = {"overrides": list(self.overrides), "version": __version__, "seconds": seconds, "threads": threads}
        draft = self.record.with_suffix(".tmp")
        write_json(draft, content)
        draft.replace(self.record)


@dataclass(frozen=True)
class Folders:
    """Where a comparison stands.

    Attributes:
        out: runs and results.
        base: SFT, reward and cost models; another comparison's folder, or ``out``.
        overrides: for every command.
    """

    out: Path
    base: Path
    overrides: tuple[str, ...] = ()

    def models(self, seed: int, cost_losses: Sequence[str] = ("semantic",)) -> list[Job]:
        """The commands that make a seed's SFT, reward and cost models, in order."""
        root = self.base / f"seed{seed}"

        def job(stage: str, name: str, result: Path, *overrides: str) -> Job:
            sft = () if stage == "sft" else (assign("inputs.sft", root / "sft"),)
            places = (assign("artifacts", result.parent), *sft)
            return Job(stage, name, seed, root, (*overrides, *self.overrides), places, result)

        costs = [job("cost", f"{loss}-cost", self.cost_model(seed, loss), f"cost.loss={loss}") for loss in cost_losses]
        return [job("sft", "sft", root / "sft"), job("reward", "reward", root / "reward"), *costs]

    def cost_model(self, seed: int, cost_loss: str) -> Path:
        """Folder of a seed's cost model."""
        root = self.base / f"seed{seed}"
        return (root if cost_loss == "semantic" else root / cost_loss) / "cost"

    def run(self, setting: Setting, seed: int) -> list[Job]:
        """The commands of one run, in order."""
        root, base = self.out / f"seed{seed}", self.base / f"seed{seed}"
        policy = root / "ppo" / setting.name
        models = {"sft": base / "sft", "reward": base / "reward", "cost": self.cost_model(seed, setting.cost_loss)}
        inputs = [assign(f"inputs.{name}", folder) for name, folder in models.items()]
        overrides = (*setting.overrides, *self.overrides)

        def job(stage: str, name: str, *more: str, twin: tuple[Path, Path] | None = None) -> Job:
            places = (assign("artifacts", root), f"name={name}", *inputs, *more)
            return Job(stage, name, seed, root, overrides, places, root / stage / name, twin)

        last, judged_last = policy / "last", f"{setting.name}{LAST}"
        return [
            job("ppo", setting.name),
            job("evaluate", setting.name, assign("inputs.ppo", policy)),
            job("evaluate", judged_last, assign("inputs.ppo", last), twin=(policy, last)),
        ]


def assign(key: str, path: Path) -> str:
    """``key='path'``, an override."""
    return f"{key}={quoted(path)}"


def quoted(path: Path) -> str:
    """``'path'`` with Hydra's quotes, so that any path can stand in it."""
    # A backslash is one unless a quote follows it.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), str(path)) + "'"


# How the commands are run, and what they take; the pool itself is the sweeps' (csrlhf/sweeping/pool.py).

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
