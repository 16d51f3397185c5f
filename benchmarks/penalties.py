"""Penalty strategies on the toy world: ``python -m benchmarks.penalties``.

Two phases: ``--screen`` runs about 15 settings on two seeds, ``--finalists`` the best of each family on five; without
either, both. The multipliers of fixed strategies are multiples of λ*, which is estimated first. Everything that is
finished is kept under ``--out``; called again, the program makes what is missing. ``--table`` reports what is finished,
also while another call is running. docs/explanation/comparison.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.lambda_star import LambdaStar, estimate_lambda, store, stored, training_rows
from benchmarks.comparison.measures import finalists
from benchmarks.comparison.program import Program, call, parser, record_choice
from benchmarks.comparison.settings import (
    DUAL,
    PROBE,
    PROBE_MULTIPLIER,
    SCREEN,
    Setting,
    choose,
    penalty_names,
    penalty_settings,
    unscaled,
)
from csrlhf.errors import UserError
from csrlhf.sweeping.pool import alone

SCREEN_SEEDS, FINALIST_SEEDS, SMOKE_SEEDS = (0, 1), (0, 1, 2, 3, 4), (0,)
FINALISTS_FILE = "finalists.json"


def main(arguments: Sequence[str] | None = None) -> Program:
    """Run the phases that are asked for, then report."""
    options = _parser().parse_args(arguments)
    program = Program.from_options(options)
    out = program.folders.out
    if options.table:
        _report(program)
        return program
    with alone(out, program.folders.base):
        if options.lambda_star is not None:
            _set(options.lambda_star, out)
        both = options.screen == options.finalists
        if options.screen or both:
            names = choose(options.settings or SCREEN, penalty_names())
            _make(program, names, program.seeds or (SMOKE_SEEDS if options.smoke else SCREEN_SEEDS))
            _report(program)
        if options.finalists or (both and options.settings is None):
            names = _finalists(program, options.settings, SMOKE_SEEDS if options.smoke else SCREEN_SEEDS)
            _make(program, names, program.seeds or (SMOKE_SEEDS if options.smoke else FINALIST_SEEDS))
            _report(program)
    return program


def _make(program: Program, names: Sequence[str], seeds: Sequence[int]) -> None:
    out = program.folders.out
    star = stored(out)
    if star is None and not set(names) <= set(unscaled()):
        star = _estimate(program, seeds[:2])
    known = penalty_settings(None if star is None else star.value)
    settings = [known[name] for name in names if name in known]
    program.make(settings, seeds)


def _estimate(program: Program, seeds: Sequence[int]) -> LambdaStar:
    """Run the dual and the probe, and keep what they say of λ*."""
    print(f"λ* first, from {DUAL} and {PROBE} on seeds {', '.join(map(str, seeds))}", flush=True)
    settings = unscaled()
    program.make([settings[DUAL], settings[PROBE]], seeds)
    runs = {name: [program.folders.run(settings[name], seed)[0] for seed in seeds] for name in (DUAL, PROBE)}
    if not all(job.done() for jobs in runs.values() for job in jobs):
        raise UserError(f"λ* needs the runs {DUAL} and {PROBE} (what failed stands above), or --lambda-star")
    histories = {name: [training_rows(job) for job in jobs] for name, jobs in runs.items()}
    found = estimate_lambda(histories[DUAL], histories[PROBE], PROBE_MULTIPLIER, seeds)
    store(found, program.folders.out)
    print(found.words(), flush=True)
    return found


def _set(value: float, out: Path) -> None:
    """Take a λ* that is known from elsewhere."""
    if not value > 0:
        raise UserError(f"--lambda-star {value}: must be a positive number")
    standing = stored(out)
    if standing is not None and standing.value != value:
        raise UserError(f"--lambda-star {value}: runs in {out} are multiples of {standing.value:g}; name another --out")
    if standing is None:
        store(LambdaStar(value, "given"), out)


def _finalists(program: Program, asked: Sequence[str] | None, screen_seeds: Sequence[int]) -> list[str]:
    """The settings asked for, those chosen by an earlier call, or the best of each family in the screen."""
    path = program.folders.out / FINALISTS_FILE
    if asked:
        return choose(asked, penalty_names())
    if not path.is_file():
        names = finalists(
            [run for run in program.finished(_known(program)) if run.setting.name in SCREEN], screen_seeds
        )
        if not names:
            raise UserError("--finalists: no setting has finished the screen; run --screen first, or name --settings")
        record_choice(path, names)
    chosen = json.loads(path.read_text(encoding="utf-8"))
    print(f"finalists: {', '.join(chosen)} ({path})", flush=True)
    return chosen


def _known(program: Program) -> list[Setting]:
    star = stored(program.folders.out)
    return list(penalty_settings(None if star is None else star.value).values())


def _report(program: Program) -> None:
    star = stored(program.folders.out)
    program.report(program.finished(_known(program)), [star.words()] if star is not None else [])


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__, Path("artifacts/penalties"))
    made.add_argument("--screen", action="store_true", help="many settings, two seeds")
    made.add_argument("--finalists", action="store_true", help="the best of each family, five seeds")
    made.add_argument("--lambda-star", type=float, metavar="λ", help="take this λ* and estimate none")
    return made


if __name__ == "__main__":
    sys.exit(call(main))
