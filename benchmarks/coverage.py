"""Do the bounds of csrlhf.stats hold as often as they say? ``python -m benchmarks.coverage``.

Simulated worlds with a known truth, at least 5,000 replicates each, fixed seeds. A one-sided binomial test asks whether
the coverage is at least 1 - δ, Bonferroni over the scenarios; negative controls (Student's t, a plug-in for best-of-N,
the naive flag rate, ...) must fail it. Each scenario is kept in ``--out`` when it is done; called again, the program
makes what is missing. A whole study writes its table into docs/explanation/certificates.md.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.certificates.audits import audit_scenarios
from benchmarks.certificates.best_of_n import best_of_n_scenarios
from benchmarks.certificates.lambda_star import lambda_scenarios
from benchmarks.certificates.rates import rate_scenarios
from benchmarks.certificates.table import outcome_word, summary, table, write_table
from benchmarks.certificates.tails import tail_scenarios
from benchmarks.certificates.threshold import threshold_scenarios
from benchmarks.certificates.verifier import hacked_scenarios
from benchmarks.certificates.world import Outcome, Scenario, run
from csrlhf.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "certificates.md"
FULL = 5000
"""Replicates from which on the table is one for the page."""


def scenarios() -> list[Scenario]:
    """The whole study."""
    rates, verifier, decoding = rate_scenarios(), hacked_scenarios(), best_of_n_scenarios()
    others = [*threshold_scenarios(), *audit_scenarios(), *lambda_scenarios()]
    return [*rates, *tail_scenarios(), *verifier, *decoding, *others]


def code_hash() -> str:
    """Of the code that the figures depend on, words for people left out: kept figures of other code are made again."""
    digest = hashlib.sha256()
    for file in sorted(
        [
            *(ROOT / "csrlhf" / "stats").glob("*.py"),
            *(ROOT / "benchmarks" / "certificates").glob("*.py"),
            *(ROOT / "benchmarks" / "bandit").glob("*.py"),
        ]
    ):
        if file.name not in {"table.py", "toy_study.py"}:  # words for people, and another study
            digest.update(_without_docstrings(file).encode())
    return digest.hexdigest()[:16]


def _without_docstrings(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def kept(file: Path, replicates: int, seed: int, code: str) -> dict[str, Outcome]:
    """What stands in ``--out`` of this study, by the scenario's key."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # where an earlier call was killed
            continue
        if (record["code"], record["seed"], record["outcome"]["replicates"]) == (code, seed, replicates):
            found[record["key"]] = Outcome(**record["outcome"])
    return found


def study(out: Path, replicates: int, seed: int, make: bool = True) -> list[Outcome]:
    """Every scenario's outcome, in order; those that are not kept are made, or left out."""
    file, chosen, code = out / "coverage.jsonl", scenarios(), code_hash()
    found = kept(file, replicates, seed, code)
    out.mkdir(parents=True, exist_ok=True)
    broken = file.is_file() and not file.read_text(encoding="utf-8").endswith("\n")  # an earlier call was killed
    for number, scenario in enumerate(chosen, 1):
        if scenario.key in found or not make:
            continue
        outcome = found[scenario.key] = run(scenario, replicates, seed)
        record = {"key": scenario.key, "code": code, "seed": seed, "outcome": asdict(outcome)}
        with file.open("a", encoding="utf-8") as lines:
            lines.write("\n" * broken + json.dumps(record, ensure_ascii=False) + "\n")
        broken = False
        word = outcome_word(outcome, len(chosen))
        print(f"{number}/{len(chosen)} {outcome.coverage:.4f} {word}: {scenario.key}", flush=True)
    return [found[scenario.key] for scenario in chosen if scenario.key in found]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write the table; 1 where a bound fails or a control does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--replicates", type=int, default=FULL, help="of each scenario (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all of them (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("artifacts/coverage"), help="where finished scenarios are kept"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that gets the table of a whole study")
    parser.add_argument("--table", action="store_true", help="run nothing, report what is finished")
    options = parser.parse_args(arguments)
    if options.replicates < 1:
        raise UserError(f"--replicates={options.replicates}: at least 1 is needed")
    outcomes = study(options.out, options.replicates, options.seed, make=not options.table)
    if not outcomes:
        raise UserError(f"--out={options.out}: no scenario of this code and seed is finished; leave --table away")
    text = f"{summary(outcomes)}\n\n{table(outcomes)}"
    (options.out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    whole = len(outcomes) == len(scenarios()) and options.replicates >= FULL
    if whole:
        write_table(text, options.page)
    else:
        print(f"{options.page} is left as it is: it takes all scenarios at {FULL:,} replicates or more")
    return 0 if all(outcome.as_expected(len(outcomes)) for outcome in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(str(error))
