"""``python -m csrlhf.sweep FILE --local``: a W&B sweep file on this machine, without account and network.

``python -m csrlhf.sweep FOLDER [FOLDER ...] --report`` makes table, plots, λ* and page of finished runs again, or of
several sweeps together. With an account, ``wandb sweep`` and ``wandb agent`` run the same files
(docs/how-to/sweeps.md).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from csrlhf.apps import cli
from csrlhf.errors import UserError
from csrlhf.sweeping.local import Local
from csrlhf.sweeping.pool import pin_threads
from csrlhf.sweeping.report import write_report
from csrlhf.sweeping.spec import Spec, check_keys, read_spec
from csrlhf.sweeping.study import run_name


def parser() -> argparse.ArgumentParser:
    """The options."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    made = argparse.ArgumentParser(
        prog="python -m csrlhf.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a sweep file, or folders for --report")
    made.add_argument("--local", action="store_true", help="run the sweep file on this machine")
    made.add_argument("--report", action="store_true", help="run nothing: table, plots and page of finished runs")
    made.add_argument("--dry-run", action="store_true", help="run nothing: print each run's command line")
    made.add_argument("--out", type=Path, help="the sweep's folder (default: <artifacts>/sweeps/<name of the file>)")
    made.add_argument("--workers", type=int, default=cores, help="runs side by side (default: the number of cores)")
    made.add_argument("--threads", type=int, default=1, help="threads of each run (default: 1)")
    made.add_argument("--count", type=int, help="the most runs (default: the grid, or the file's run_cap)")
    made.add_argument("--seed", type=int, default=0, help="of random and bayes (default: 0)")
    made.add_argument("--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="for every run")
    made.add_argument("--wandb", action="store_true", help="the report's tables and figures as a W&B run, too")
    made.add_argument("--threshold", type=float, help="where λ* is asked for (default: the runs' own threshold)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Runs, or reports; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        for name in ("workers", "threads", "count"):
            value = getattr(options, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be 1 or more")
        if options.report:
            return _report(options)
        if len(options.paths) > 1:
            raise UserError(f"{options.paths[1]}: one sweep file at a time (several folders are for --report)")
        [path] = options.paths
        if path.is_dir():
            raise UserError(f"{path}: a folder; add --report to see its runs, or name a sweep file")
        spec = read_spec(path)
        if not (options.local or options.dry_run):
            raise UserError(
                f"{path}: add --local to run it on this machine; with a W&B account: wandb sweep {path}, and then the "
                "command that it prints"
            )
        return _run(spec, path, options)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return cli.report(error)


def _run(spec: Spec, path: Path, options: argparse.Namespace) -> int:
    try:
        setting = check_keys(spec, options.overrides)
    except UserError as error:
        raise UserError(f"{path}: {error}" if not str(error).startswith("--") else str(error)) from error
    out = (options.out or setting.artifacts / "sweeps" / spec.name).resolve()
    local = Local(
        spec, setting, out, start_of(spec, path), tuple(options.overrides), options.count, options.seed,
        options.workers, options.threads,
    )  # fmt: skip
    if options.dry_run:
        for point in local.points():
            task = local.task(run_name(point, spec.varied), point)
            print(shlex.join(["python", *task.start, *task.words]))
        return 0
    pin_threads(options.threads, Path(__file__).resolve().parents[2])
    if "early_terminate" in spec.content:
        print("early_terminate is W&B's: here every run goes to its end", flush=True)
    try:
        local.make()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from here") from None
    for task in local.failed:
        print(f"failed: {task.title}, see {task.log}; the same command retries it", file=sys.stderr, flush=True)
    print(write_report([out], out, options.threshold, options.wandb), flush=True)
    return 1 if local.failed else 0


def start_of(spec: Spec, path: Path) -> tuple[str, ...]:
    """The words that start the file's program; train.py is installed as ``-m csrlhf``."""
    if Path(spec.program).is_file():
        return (str(Path(spec.program).resolve()),)
    if spec.program == "train.py":
        return ("-m", "csrlhf")
    raise UserError(f"{path}: program={spec.program}: there is no such file in {Path.cwd()}")


def _report(options: argparse.Namespace) -> int:
    if options.local or options.dry_run:
        raise UserError("--report runs nothing: leave --local and --dry-run out")
    for folder in options.paths:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder")
    if options.out is None and len(options.paths) > 1:
        raise UserError("--out: name a folder for the report on several sweeps")
    print(write_report(options.paths, options.out or options.paths[0], options.threshold, options.wandb), flush=True)
    return 0
