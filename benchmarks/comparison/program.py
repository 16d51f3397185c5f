"""What the programs that compare settings share: options, making what is missing, reporting what is finished."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.figures import draw_costs, draw_outcomes
from benchmarks.comparison.jobs import SECONDS, Folders, Job, Pool, measured_seconds, pin_threads, run_job
from benchmarks.comparison.measures import Run, read_run
from benchmarks.comparison.settings import Setting
from benchmarks.comparison.tables import markdown, write_csv
from csrlhf.errors import UserError
from csrlhf.tracking.progress import clock

SMOKE_SECONDS = {"sft": 20.0, "reward": 5.0, "cost": 10.0, "ppo": 12.0, "evaluate": 5.0}


def parser(description: str | None, out: Path) -> argparse.ArgumentParser:
    """The options that all comparisons have."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="which seeds")
    made.add_argument("--settings", nargs="+", metavar="NAME", help="which settings: names, patterns (plain-*) or all")
    made.add_argument("--out", type=Path, default=out, help="runs, results.csv, table.md and figures")
    made.add_argument("--base", type=Path, help="take SFT, reward and cost models of another comparison's folder")
    made.add_argument("--table", action="store_true", help="run nothing, only report what is finished")
    made.add_argument("--workers", type=int, default=cores, help="runs side by side (default: the number of cores)")
    made.add_argument("--threads", type=int, default=1, help="threads of each run")
    made.add_argument("--smoke", action="store_true", help="the smallest size, in OUT/smoke: shows that all parts work")
    made.add_argument("--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="for every command")
    return made


@dataclass
class Program:
    """One call of a comparison.

    Attributes:
        folders: where everything stands.
        pool: runs commands.
        seeds: asked for; None leaves it to the phase.
    """

    folders: Folders
    pool: Pool
    seeds: tuple[int, ...] | None

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Program:
        """Check the options and find the folders."""
        if options.workers < 1 or options.threads < 1:
            raise UserError(f"--workers {options.workers} --threads {options.threads}: both must be 1 or more")
        smoke = ("experiment=smoke",) if options.smoke else ()
        out, base = options.out, options.base or options.out
        if options.smoke:
            out, base = out / "smoke", base / "smoke"
        folders = Folders(out.resolve(), base.resolve(), (*smoke, *options.overrides))
        pool = Pool(options.workers, options.threads, run_job, SMOKE_SECONDS if options.smoke else SECONDS)
        return cls(folders, pool, None if options.seeds is None else tuple(dict.fromkeys(options.seeds)))

    def make(self, settings: Sequence[Setting], seeds: Sequence[int]) -> None:
        """Run what is missing of all settings on all seeds; failures are kept in ``pool.failed``."""
        losses = list(dict.fromkeys(setting.cost_loss for setting in settings))
        models = {seed: self.folders.models(seed, losses) for seed in seeds}
        self._refuse_foreign([job for jobs in models.values() for job in jobs])
        runs = [(seed, self.folders.run(setting, seed)) for setting in settings for seed in seeds]
        every = [job for jobs in (*models.values(), *(jobs for _, jobs in runs)) for job in jobs]
        self.pool.seconds = measured_seconds(every, self.pool.threads, self.pool.seconds)
        time = self.pool.expect([*models.values(), *(jobs for _, jobs in runs)])
        if time:
            left = f"about {clock(time)} with {self.pool.workers} side by side, {self.pool.threads} thread(s) each"
            print(f"{len(settings)} settings x {len(seeds)} seeds: {left}", flush=True)
        self.pool.make(list(models.values()))
        usable = {seed for seed, jobs in models.items() if all(job.done() for job in jobs)}
        self.pool.make([jobs for seed, jobs in runs if seed in usable])

    def _refuse_foreign(self, models: Sequence[Job]) -> None:
        """Another comparison's models are taken as they are or not at all."""
        if self.folders.base == self.folders.out:
            return
        for job in models:
            if job.record.is_file() and not job.done():
                raise UserError(
                    f"--base {self.folders.base}: {job.title} was made with other overrides or another version"
                )

    def finished(self, settings: Sequence[Setting]) -> list[Run]:
        """All finished runs of these settings, whatever the seed."""
        seeds = sorted(int(path.name.removeprefix("seed")) for path in self.folders.out.glob("seed[0-9]*"))
        runs, stale = [], []
        for setting in settings:
            for seed in seeds:
                jobs = self.folders.run(setting, seed)
                if all(job.done() or job.needless() for job in jobs):
                    runs.append(read_run(setting, seed, jobs))
                elif all(job.record.is_file() or job.needless() for job in jobs):
                    stale.append(f"{setting.name} seed {seed}")
        if stale:
            print(f"left out, made with other overrides or another version: {', '.join(stale)}", flush=True)
        return runs

    def report(self, runs: Sequence[Run], notes: Sequence[str]) -> None:
        """Write results.csv, table.md and the figures."""
        if not runs:
            raise UserError(f"--out {self.folders.out}: no run is finished")
        out = self.folders.out
        write_csv(runs, out / "results.csv")
        (out / "table.md").write_text(markdown(runs, notes), encoding="utf-8")
        draw_outcomes(runs, out / "outcomes.png")
        draw_costs(runs, out / "costs.png")
        print(f"{len(runs)} runs: {out}/table.md, results.csv, outcomes.png, costs.png", flush=True)


def call(main: Callable[[], Program]) -> str | int:
    """A program's exit code, or its message: 1 where commands failed, 130 where it was stopped."""
    pin = argparse.ArgumentParser(add_help=False)
    pin.add_argument("--threads", type=int, default=1)
    pin_threads(pin.parse_known_args()[0].threads)
    try:
        failed = main().pool.failed
    except UserError as error:
        return f"error: {error}"
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", flush=True)
        return 130
    for job in failed:
        print(f"failed: {job.title}, see {job.log}", flush=True)
    return 1 if failed else 0


def record_choice(path: Path, names: Sequence[str]) -> None:
    """Keep which settings a phase chose: a second call goes on with the same ones."""
    path.write_text(json.dumps(list(names)) + "\n", encoding="utf-8")
