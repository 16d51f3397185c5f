"""The paper's claim on real data: ``python -m benchmarks.cost_model``.

Semantic (labels) against pairwise (Safe-RLHF) cost loss on the same MiniLM with the same recipe and equal compute:
five folds by prompt, three seeds, beside bag of words and a regular expression of refusals. Every fit runs in a
process of its own and its held-out predictions are kept under ``--output`` as it ends: called again, the program makes
what is missing, and prints tables of the seeds that are complete. Measures and
results: docs/explanation/cost_model.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.cost_models.arms import ARMS
from benchmarks.cost_models.comparison import REFERENCE, Comparison, measure
from benchmarks.cost_models.fit import NUM_FOLDS, prepare_torch
from benchmarks.cost_models.report import draw, print_tables
from benchmarks.cost_recipe import recipe
from csrlhf.data.jsonl import JsonlData
from csrlhf.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
FILES = ("train.jsonl", "validation.jsonl", "preferences_train.jsonl")
SMOKE_ROWS = 80


def main() -> None:
    """Make missing fits, print and draw what is complete."""
    options = _arguments()
    try:
        comparison = _load(options)
        if options.fit:
            prepare_torch(options.threads, options.matmul)
            comparison.fit(options.fit[0], int(options.fit[1]), int(options.fit[2]))
            return
        _make_missing(comparison, options)
        _report(comparison, options)
    except UserError as error:
        sys.exit(f"error: {error}")


def _load(options: argparse.Namespace) -> Comparison:
    if REFERENCE not in options.arms:
        raise UserError(f"--arms: differences are to the arm {REFERENCE}, name it as well")
    if options.fit and options.fit[0] not in ARMS:
        raise UserError(f"--fit {options.fit[0]}: there is no such arm, there are {', '.join(ARMS)}")
    missing = [name for name in FILES if not (options.data / name).is_file()]
    if missing:
        raise UserError(
            f"--data {options.data}: there is no {', '.join(missing)}; name the folder with {', '.join(FILES)}"
        )
    source = JsonlData(str(options.data / FILES[0]), str(options.data / FILES[1]))
    preferences = JsonlData(str(options.data / FILES[2]))
    rows = source.labelled("train") + source.labelled("validation")
    compared = preferences.cost_pairs("train")
    output = options.output / "smoke" if options.smoke else options.output
    _check_data(output, {**source.hashes(), "preferences": preferences.hashes()["train"]})
    if not options.smoke:
        return Comparison(rows, compared, output, recipe(()), options.recipe_fits)
    return Comparison(rows[:SMOKE_ROWS], compared[:SMOKE_ROWS], output, recipe(("cost.epochs=1",)))


def _check_data(output: Path, hashes: dict[str, str]) -> None:
    """Refuse a folder with fits of other data: their row numbers would mean other rows."""
    record = output / "data.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != hashes:
        raise UserError(f"--output {output}: holds fits of other data; name another folder")
    output.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def _make_missing(comparison: Comparison, options: argparse.Namespace) -> None:
    """Each fit in a process of its own: memory that a fit leaves behind ends with it."""
    for seed in options.seeds:
        for fold in options.folds:
            for arm in options.arms:
                if comparison.has(arm, seed, fold) or options.table:
                    continue
                words = ["--data", options.data, "--output", options.output, "--threads", options.threads]
                words += ["--matmul", options.matmul, *(["--smoke"] if options.smoke else []), "--fit", arm, seed, fold]
                command = [sys.executable, "-m", "benchmarks.cost_model", *map(str, words)]
                if subprocess.run(command, cwd=ROOT).returncode:
                    raise UserError(f"{arm} seed {seed} fold {fold} failed (its message is above)")


def _report(comparison: Comparison, options: argparse.Namespace) -> None:
    """Tables, figure and numbers of the seeds whose folds are complete in every arm."""
    wanted = {seed: [(arm, fold) for arm in options.arms for fold in options.folds] for seed in options.seeds}
    seeds = [seed for seed, fits in wanted.items() if all(comparison.has(arm, seed, fold) for arm, fold in fits)]
    if not seeds:
        raise UserError(f"no seed is complete in {comparison.output}: leave --table away to make the fits")
    judged = comparison.judged(options.arms, seeds, options.folds)
    measured = measure(judged, 50 if options.smoke else 1000)
    dialogues = comparison.settings["cost"]["epochs"] * len(comparison.rows) * (NUM_FOLDS - 1) // NUM_FOLDS
    judged_rows = np.unique(np.concatenate([rows for fits in judged.fits[REFERENCE].values() for rows, _ in fits]))
    counts = {name: int(inside_N[judged_rows].sum()) for name, inside_N in comparison.slices.items()}
    folds = f"{len(options.folds)} of {NUM_FOLDS} folds, seeds {', '.join(map(str, seeds))}"
    title = f"{len(judged_rows)} dialogues judged, {folds}; a fit sees about {dialogues}"
    print_tables(measured, options.arms, counts, title)
    numbers = {"values": measured.values, "intervals": measured.intervals, "seeds": seeds, "rows": counts}
    (comparison.output / "results.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    if "pairwise" in options.arms:
        draw(measured, counts, f"cross-validation, {folds}", comparison.output / "cost_model.png")
    print(f"numbers and figure: {comparison.output}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/cs_rlhf", help=f"folder with {FILES}")
    parser.add_argument("--output", type=Path, default=ROOT / "artifacts/cost_model", help="where fits are kept")
    parser.add_argument("--arms", nargs="+", default=["semantic", "pairwise"], choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(NUM_FOLDS)), choices=range(NUM_FOLDS))
    parser.add_argument("--smoke", action="store_true", help="80 rows, one epoch: shows that all parts work")
    parser.add_argument("--table", action="store_true", help="make no fits, only print what is complete")
    parser.add_argument("--recipe-fits", type=Path, metavar="DIR", help="take semantic fits of benchmarks.cost_recipe")
    parser.add_argument("--matmul", default="bf16", choices=["bf16", "ieee"], help="bf16: faster where a CPU has it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fit", nargs=3, metavar=("ARM", "SEED", "FOLD"), help="make this one fit in this process")
    options = parser.parse_args()
    # Fits run from the repository's root, wherever the program was started.
    options.data, options.output = options.data.resolve(), options.output.resolve()
    return options


if __name__ == "__main__":
    main()
