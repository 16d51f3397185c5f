"""A sweep on this machine: the models that all runs read, then the runs side by side, then the report.

Whatever is finished is kept: the same call after a stop or a kill makes what is missing, goes on with a half run from
its last checkpoint, and tries failed runs again. The same call beside one that is going on takes a share of its runs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrlhf import __version__
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.artifacts import RECORD, write_json
from csrlhf.runs.processes import run_program
from csrlhf.sweeping.pool import Command, Pool, held, thread_variables
from csrlhf.sweeping.report import SWEEP
from csrlhf.sweeping.spec import MADE_BEFORE, Setting, Spec, words_of
from csrlhf.sweeping.study import JOURNAL, Parameters, Study, Trial, drawn, result_of, values_of
from csrlhf.sweeping.table import FILE, read_outcome, write_runs
from csrlhf.tracking.progress import clock

SECONDS = {"sft": 170.0, "reward": 60.0, "cost": 70.0, "ppo": 220.0}
"""What a stage takes on the toy world on one idle core, until this folder's own records tell better."""

SAME = ("overrides", "fixed", "inputs", "seed", "metric")
"""What all runs of a folder share."""


@dataclass(frozen=True)
class Task(Command):
    """One command of a sweep: a run, or a stage whose model all runs read.

    Attributes:
        out: the sweep's folder.
        start: the words before the overrides: ``train.py``, or ``-m csrlhf``.
        words: overrides.
        result: folder that the command fills.
        trial: of a run that this call has taken.
    """

    out: Path
    start: tuple[str, ...]
    words: tuple[str, ...]
    result: Path
    trial: Trial | None = None

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.out / "logs" / f"{self.name}.log"

    def done(self) -> bool:
        """Whether the result stands; a run was taken because it does not, a model stands wherever it was made."""
        return self.stage != "ppo" and (self.result / RECORD).is_file()

    def finish(self, seconds: float, threads: int) -> None:
        """Leave the record with the run's row.

        Raises:
            UserError: the program ended well and left no result.
        """
        if self.trial is not None:
            row = read_outcome(self.result) | {"folder": str(self.result)}
            self.trial.study.finish(self.trial, row, seconds, threads)
        elif not self.done():
            raise UserError(f"{self.log}: stage={self.stage} ended well and left no result in {self.result}")


def run_task(task: Task, threads: int) -> int:
    """The command in a process of its own, with its output in the task's log."""
    return run_program([sys.executable, *task.start, *task.words], os.environ | thread_variables(threads), task.log)


@dataclass
class Local:
    """One call of a sweep on this machine.

    Attributes:
        spec: the sweep file.
        setting: what the configuration says.
        out: the sweep's folder.
        start: the command before the overrides.
        overrides: the user's words for all runs.
        count: the most runs; None is the whole grid, or the file's ``run_cap``.
        seed: of random and bayes.
        workers: runs side by side.
        threads: of each.
        run: runs a command.
        failed: commands that ended with an error.
    """

    spec: Spec
    setting: Setting
    out: Path
    start: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    count: int | None = None
    seed: int = 0
    workers: int = 1
    threads: int = 1
    run: Callable[[Task, int], int] = run_task
    failed: list[Task] = field(default_factory=list)

    def make(self) -> None:
        """Runs what is missing.

        Raises:
            UserError: the folder holds another sweep's runs, or a model that all runs read could not be made.
            KeyboardInterrupt: after the runs that were on their way have saved their state.
        """
        study = Study(self.spec, self.out, self.count, self.seed)
        self._make_models(study.limit)
        self._describe(study)
        try:
            self._run(study)
        finally:
            study.close()
            self._write_table(study)

    def points(self) -> list[Parameters]:
        """The runs' parameters; of bayes those that have been suggested so far."""
        if self.spec.method == "bayes":
            suggested = (self.out / JOURNAL).is_file()
            return Study(self.spec, self.out, self.count, self.seed).points() if suggested else []
        return [values_of(self.spec, point) for point in drawn(self.spec, self.count, self.seed)]

    def task(self, name: str, parameters: Parameters, trial: Trial | None = None) -> Task:
        """The command of a run."""
        words = [*self.spec.fixed, *words_of(parameters), *self._own()]
        read = [f"inputs.{stage}={_quoted(folder)}" for stage, folder in self._models().items()]
        logger = [] if any(word.startswith("logger=") for word in words) else ["logger=none"]
        places = [f"artifacts={_quoted(self.out)}", f"name={_quoted(name)}", "resume=true", *logger]
        result = result_of(self.out, name)
        return Task("ppo", name, self.out, self.start, (*words, *read, *places), result, trial)

    def _run(self, study: Study) -> None:
        def ended(task: Task, code: int) -> None:
            if code and task.trial:
                study.fail(task.trial, {"exit_code": code, "log": str(task.log)})
            pool.seconds["ppo"] = study.seconds_of_a_run(self.threads) or pool.seconds["ppo"]
            self._write_table(study)

        seconds = study.seconds_of_a_run(self.threads) or SECONDS["ppo"]
        pool = Pool(self.workers, self.threads, self.run, {"ppo": seconds}, ended)
        missing = study.missing()
        if time := pool.expect([], {"ppo": missing}):
            beside = f"{self.workers} side by side, {self.threads} thread(s) each"
            done = study.limit - missing
            print(f"{study.limit} runs, {done} finished: about {clock(time)} with {beside}", flush=True)
        try:
            pool.make(([self.task(trial.name, trial.parameters, trial)] for trial in iter(study.take, None)), missing)
        finally:
            self.failed += pool.failed

    def _write_table(self, study: Study) -> None:
        if rows := study.rows():
            write_runs(self.out / FILE, rows)

    def _own(self) -> list[str]:
        """The user's words, less the folder, which the sweep names itself."""
        return [word for word in self.overrides if word.lstrip("+").split("=")[0] != "artifacts"]

    def _models(self) -> dict[str, Path]:
        """Folders of the models that the sweep itself names; those of the user's own ``inputs.`` words it leaves."""
        root = self.setting.artifacts.resolve()
        return {stage: root / stage for stage in MADE_BEFORE if stage not in self.setting.inputs}

    def _make_models(self, runs: int) -> None:
        """SFT, reward and cost model, where there is none: once, with the words that every run has."""
        commands = self._model_tasks()
        if all(task.done() for task in commands):
            return
        with held(self.out / ".models"):  # another call may be making them
            missing = [task.stage for task in commands if not task.done()]
            if not missing:
                return
            time, root = clock(sum(SECONDS[stage] for stage in missing)), self.setting.artifacts.resolve()
            print(f"{root} has no {', '.join(missing)}: made first, once for all runs (about {time})", flush=True)
            pool = Pool(self.workers, self.threads, self.run, SECONDS)
            pool.expect([[task] for task in commands], {"ppo": runs})
            for task in commands:  # the later ones read the first
                pool.make([[task]])
                if pool.failed:
                    raise UserError(f"stage={task.stage} ended with an error, which stands at the end of {task.log}")

    def _model_tasks(self) -> list[Task]:
        constant = words_of({key: of["value"] for key, of in self.spec.parameters.items() if "value" in of})
        words = [word for word in (*self.spec.fixed, *constant) if not word.startswith("stage=")]
        places = (f"artifacts={_quoted(self.setting.artifacts.resolve())}", "resume=true", "logger=none")
        return [
            Task(stage, stage, self.out, self.start, (f"stage={stage}", *words, *self._own(), *places), result)
            for stage, result in self._models().items()
        ]

    def _fingerprints(self) -> dict[str, Any]:
        """Of all models that a run reads, the user's own among them."""
        return {
            stage: artifacts.fingerprint_of(str(place)) if isinstance(place, str | Path) else str(place)
            for stage, place in sorted({**self.setting.inputs, **self._models()}.items())
        }

    def _describe(self, study: Study) -> None:
        """Writes ``sweep.json``.

        Raises:
            UserError: the folder's runs were made in another way, and are not to stand in the same table.
        """
        content: dict[str, Any] = {
            "name": self.spec.name,
            "hash": self.spec.hash,
            "spec": self.spec.content,
            "fixed": list(self.spec.fixed),
            "overrides": list(self.overrides),
            "inputs": self._fingerprints(),
            "seed": self.seed if self.spec.method != "grid" else None,
            "metric": self.spec.metric if self.spec.method == "bayes" else None,
            "version": __version__,
        }
        path = self.out / SWEEP
        if path.is_file() and study.begun:
            standing = json.loads(path.read_text(encoding="utf-8"))
            for key in SAME:
                if standing[key] != content[key]:
                    raise UserError(
                        f"--out {self.out}: its runs were made with {key} {standing[key]}, and now {content[key]} is "
                        "asked for; give the same, or name another --out"
                    )
        write_json(path, content)


def _quoted(path: Path | str) -> str:
    """In Hydra's quotes, so that any path, or a name with =, can be an override."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
