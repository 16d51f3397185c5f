"""A sweep on this machine: the models that all runs read, then the runs side by side, then the report.

Whatever is finished is kept: the same call after a stop or a kill makes what is missing, goes on with a half run from
its last checkpoint, and tries failed runs again.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csrlhf import __version__, artifacts
from csrlhf.callbacks.progress_text import clock
from csrlhf.errors import UserError
from csrlhf.sweeping import suggestions
from csrlhf.sweeping.keys import MADE_BEFORE, Setting
from csrlhf.sweeping.outcome import Row
from csrlhf.sweeping.pool import Pool
from csrlhf.sweeping.spec import Spec, words_of
from csrlhf.sweeping.suggestions import Parameters, Tried
from csrlhf.sweeping.table import FILE, FINISHED, write_runs
from csrlhf.sweeping.task import Task, run_name, run_task

SECONDS = {"sft": 170.0, "reward": 60.0, "cost": 70.0, "ppo": 150.0}
"""What a stage takes on the toy world on one idle core, until this folder's own records tell better."""

SWEEP, SUGGESTED = "sweep.json", "suggested.json"
SAME = ("overrides", "fixed", "inputs", "seed")


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
        self._describe()
        tasks = [self.task(point) for point in points]
        try:
            if self.spec.method == "bayes":
                self._improve(tasks)
            else:
                self._run(tasks, 0)
        finally:
            self.write_table()

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
        own = [word for word in self.overrides if word.lstrip("+").split("=")[0] != "artifacts"]
        words = [*self.spec.fixed, *words_of(parameters), *own]
        read = [f"inputs.{stage}={_quoted(folder)}" for stage, folder in self._models().items()]
        logger = [] if any(word.startswith("logger=") for word in words) else ["logger=none"]
        places = [f"artifacts={_quoted(self.out)}", f"name={_quoted(name)}", "resume=true", *logger]
        return Task(
            stage="ppo",
            name=name,
            out=self.out,
            start=self.start,
            words=(*words, *read, *places),
            result=self.out / "ppo" / name,
            parameters=parameters,
            depends={"words": words, "version": __version__, "inputs": self._fingerprints()},
        )

    def write_table(self) -> None:
        """``runs.csv`` from the records, of the present points and of earlier ones."""
        rows = [_row(json.loads(path.read_text(encoding="utf-8")), path.stem) for path in self._records()]
        if rows:
            write_runs(self.out / FILE, rows)

    def _records(self) -> list[Path]:
        """In the order in which they ended."""
        return sorted((self.out / "records").glob("*.json"), key=lambda path: path.stat().st_mtime)

    def _models(self) -> dict[str, Path]:
        """Folders of the models that the sweep itself names; those of the user's own ``inputs.`` words it leaves."""
        root = self.setting.artifacts.resolve()
        return {stage: root / stage for stage in MADE_BEFORE if stage not in self.setting.inputs}

    def _fingerprints(self) -> dict[str, Any]:
        named = {stage: self.setting.inputs[stage] for stage in self.setting.inputs}
        return {
            stage: artifacts.fingerprint_of(str(place)) if isinstance(place, str | Path) else str(place)
            for stage, place in sorted({**named, **self._models()}.items())
        }

    def _make_models(self, points: Sequence[Parameters]) -> None:
        """SFT, reward and cost model, where there is none: once, with the words that every run has."""
        constant = words_of({key: of["value"] for key, of in self.spec.parameters.items() if "value" in of})
        shared = [word for word in (*self.spec.fixed, *constant) if not word.startswith("stage=")]
        root = self.setting.artifacts.resolve()
        own = [word for word in self.overrides if word.lstrip("+").split("=")[0] != "artifacts"]
        commands = []
        for stage, result in self._models().items():
            words = (f"stage={stage}", *shared, *own, f"artifacts={_quoted(root)}", "resume=true", "logger=none")
            commands.append(Task(stage, stage, self.out, self.start, words, result))
        missing = [task.stage for task in commands if not task.done()]
        if not missing:
            return
        pool = self._pool()
        time = clock(sum(SECONDS[stage] for stage in missing))
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
                self.write_table()

        pool = Pool(self.workers, self.threads, self.run, SECONDS | self._measured(), ended)
        return pool

    def _measured(self) -> dict[str, float]:
        """What a run has taken in this folder, by median."""
        records = [json.loads(path.read_text(encoding="utf-8")) for path in self._records()]
        seconds = [one["seconds"] for one in records if one["seconds"] and one["threads"] == self.threads]
        return {"ppo": statistics.median(seconds)} if seconds else {}

    def _describe(self) -> None:
        """``sweep.json``; runs that were made in another way are not to stand in the same table."""
        path = self.out / SWEEP
        content = {
            "name": self.spec.name,
            "hash": self.spec.hash,
            "spec": self.spec.content,
            "fixed": list(self.spec.fixed),
            "overrides": list(self.overrides),
            "inputs": self._fingerprints(),
            "seed": self.seed if self.spec.method != "grid" else None,
            "version": __version__,
        }
        if path.is_file() and self._records():
            standing = json.loads(path.read_text(encoding="utf-8"))
            for key in SAME:
                if standing[key] != content[key]:
                    raise UserError(
                        f"--out {self.out}: its runs were made with {key} {standing[key]}, and now {content[key]} is "
                        "asked for; give the same, or name another --out"
                    )
        artifacts.write_json(path, content)


def _row(record: Mapping[str, Any], name: str) -> Row:
    head = {"id": name, "status": record["status"], "overrides": " ".join(words_of(record["parameters"]))}
    return head | {"seconds": record["seconds"]} | dict(record["parameters"]) | dict(record["row"])


def _quoted(path: Path | str) -> str:
    """In Hydra's quotes, so that any path, or a name with =, can be an override."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
