"""A sweep on this machine: the models that all runs read, then the runs side by side, then the report.

Whatever is finished is kept: the same call after a stop or a kill makes what is missing, goes on with a half run from
its last checkpoint, and tries failed runs again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrlhf import __version__
from csrlhf.errors import UserError
from csrlhf.sweeping import records, shared, suggestions
from csrlhf.sweeping.keys import Setting
from csrlhf.sweeping.pool import Pool
from csrlhf.sweeping.spec import Spec, words_of
from csrlhf.sweeping.suggestions import Parameters, Tried
from csrlhf.sweeping.table import FINISHED
from csrlhf.sweeping.task import Task, run_name, run_task
from csrlhf.tracking.progress import clock

SECONDS = {"sft": 170.0, "reward": 60.0, "cost": 70.0, "ppo": 220.0}
"""What a stage takes on the toy world on one idle core, until this folder's own records tell better."""

SUGGESTED = "suggested.json"


@dataclass
class Local:
    """One call of a sweep on this machine.

    Attributes:
        spec: the sweep file.
        setting: what the configuration says.
        out: the sweep's folder.
        start: the words before the overrides.
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
        self.out.mkdir(parents=True, exist_ok=True)
        points = self.points()
        self._make_models(points)
        records.describe(self.out, self._description())
        tasks = [self.task(point) for point in points]
        try:
            if self.spec.method == "bayes":
                self._improve(tasks)
            else:
                self._run(tasks, 0)
        finally:
            records.write_table(self.out)

    def points(self) -> list[Parameters]:
        """The runs' parameters; of bayes those that have been suggested so far."""
        if self.spec.method == "grid":
            return suggestions.grid(self.spec, self.count)
        if self.spec.method == "random":
            return suggestions.drawn(self.spec, self.limit(), self.seed)
        path = self.out / SUGGESTED
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def limit(self) -> int:
        """How many runs random and bayes make."""
        limit = self.count if self.count is not None else self.spec.run_cap
        if limit is None:
            raise UserError(f"--count: method={self.spec.method} has no end of its own; say how many runs (or run_cap)")
        return limit

    def task(self, parameters: Parameters) -> Task:
        """The command of a run."""
        name = run_name(parameters, self.spec.varied)
        words = [*self.spec.fixed, *words_of(parameters), *self._own()]
        read = [f"inputs.{stage}={shared.quoted(folder)}" for stage, folder in shared.models(self.setting).items()]
        logger = [] if any(word.startswith("logger=") for word in words) else ["logger=none"]
        places = [f"artifacts={shared.quoted(self.out)}", f"name={shared.quoted(name)}", "resume=true", *logger]
        return Task(
            stage="ppo",
            name=name,
            out=self.out,
            start=self.start,
            words=(*words, *read, *places),
            result=self.out / "ppo" / name,
            parameters=parameters,
            depends={"words": words, "version": __version__, "inputs": shared.fingerprints(self.setting)},
        )

    def _own(self) -> list[str]:
        """The user's words, less the folder, which the sweep names itself."""
        return [word for word in self.overrides if word.lstrip("+").split("=")[0] != "artifacts"]

    def _make_models(self, points: Sequence[Parameters]) -> None:
        """SFT, reward and cost model, where there is none: once, with the words that every run has."""
        commands = shared.model_tasks(self.spec, self.setting, self.out, self.start, self._own())
        missing = [task.stage for task in commands if not task.done()]
        if not missing:
            return
        pool = self._pool()
        time, root = clock(sum(SECONDS[stage] for stage in missing)), self.setting.artifacts.resolve()
        print(f"{root} has no {', '.join(missing)}: made first, once for all runs (about {time})", flush=True)
        pool.expect([[task] for task in commands], {"ppo": len(points)})
        for task in commands:  # the later ones read the first
            pool.make([[task]])
            if pool.failed:
                raise UserError(f"stage={task.stage} ended with an error, which stands at the end of {task.log}")

    def _run(self, tasks: Sequence[Task], later: int) -> None:
        pool = self._pool()
        time = pool.expect([[task] for task in tasks], {"ppo": later})
        done = sum(task.done() for task in tasks)
        if time:
            beside = f"{self.workers} side by side, {self.threads} thread(s) each"
            print(f"{len(tasks)} runs, {done} finished: about {clock(time)} with {beside}", flush=True)
        try:
            pool.make([[task] for task in tasks])
        finally:
            self.failed += pool.failed

    def _improve(self, tasks: list[Task]) -> None:
        """Bayes: half runs first, then as many new points at a time as there are workers."""
        limit = self.limit()
        self._run(tasks, max(limit - len(tasks), 0))
        while len(tasks) < limit:
            tried = [self._tried(task) for task in tasks]
            size = min(self.workers, limit - len(tasks))
            found = suggestions.improved(self.spec, tried, size, self.seed)
            tasks += [self.task(point) for point in found]
            draft = self.out / f".{SUGGESTED}"
            draft.write_text(json.dumps([task.parameters for task in tasks]), encoding="utf-8")
            draft.replace(self.out / SUGGESTED)
            self._run(tasks[-size:], limit - len(tasks))

    def _tried(self, task: Task) -> Tried:
        record = task.ended()
        if record is None or record["status"] != FINISHED:
            return Tried(task.parameters, None, failed=True)
        name = self.spec.metric["name"]
        if name not in record["row"]:
            there = ", ".join(sorted(key for key in record["row"] if "/" in key))
            raise UserError(f"{self.spec.name}: metric.name={name}: the runs have no such key; there are {there}")
        return Tried(task.parameters, record["row"][name])

    def _pool(self) -> Pool[Task]:
        def ended(task: Task, code: int) -> None:
            if code:
                task.fail(code)
            if task.stage == "ppo":
                pool.seconds |= self._measured()
                records.write_table(self.out)

        pool = Pool(self.workers, self.threads, self.run, SECONDS | self._measured(), ended)
        return pool

    def _measured(self) -> dict[str, float]:
        seconds = records.seconds_of_a_run(self.out, self.threads)
        return {} if seconds is None else {"ppo": seconds}

    def _description(self) -> dict[str, Any]:
        return {
            "name": self.spec.name,
            "hash": self.spec.hash,
            "spec": self.spec.content,
            "fixed": list(self.spec.fixed),
            "overrides": list(self.overrides),
            "inputs": shared.fingerprints(self.setting),
            "seed": self.seed if self.spec.method != "grid" else None,
            "version": __version__,
        }
