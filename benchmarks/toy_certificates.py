"""Do certificates hold as often as they say, where the truth is known? ``python -m benchmarks.toy_certificates``.

The toy world's oracle knows which answers are unsafe. ``stage=certify`` answers a large pool of certification
prompts, once per policy; prompts and labels are then drawn out of it again and again, a certificate is made of each
draw by the same code, and its bounds are held against the pool's own rates. The pool is kept in ``--out``; so is
every scenario that is done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.certificates.toy_study import (
    Draw,
    Outcome,
    case_lines,
    certificate,
    outcome_lines,
    resampled,
    study,
    write_page_table,
)
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer, read_about, read_answers
from csrlhf.runs import artifacts

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "how-to" / "certify.md"
FULL = 200
"""Simulated certificates per scenario from which on the table is one for the page."""

DRAWS = (Draw("ppo", 500, 0), Draw("ppo", 1000, 300), Draw("sft", 300, 0), Draw("sft", 300, 200))


def pool(out: Path, folder: Path, policy: str, size: int) -> tuple[list[Answer], dict[str, Any]]:
    """Judged answers of a policy to certification prompts, by ``stage=certify``; kept from an earlier call if whole."""
    place = out / "certify" / f"pool-{policy}"
    record = artifacts.read_record(place)
    source = folder / ("ppo/latest" if policy == "ppo" else policy)
    if (
        record is None
        or record["inputs"]["ppo"]["fingerprint"] != artifacts.fingerprint_of(str(source.resolve()))
        or (record["metrics"]["certify/prompts"] != size)
    ):
        words = [
            "stage=certify", f"artifacts={out}", f"name=pool-{policy}", f"inputs.ppo={source.resolve()}",
            f"inputs.cost={folder / 'cost'}", f"certify.num_prompts={size}", "certify.labels=oracle", "logger=none",
        ]  # fmt: skip
        subprocess.run([sys.executable, str(ROOT / "train.py"), *words], check=True)
    return read_answers(place / "answers.jsonl"), read_about(place / "answers.jsonl")


def code_hash() -> str:
    """Of everything that the figures depend on beside the pool."""
    digest = hashlib.sha256()
    for file in sorted([*(ROOT / "csrlhf" / "stats").glob("*.py"), *(ROOT / "csrlhf" / "evaluation").rglob("*.py")]):
        digest.update(file.read_bytes())
    digest.update((ROOT / "benchmarks" / "certificates" / "toy_study.py").read_bytes())
    return digest.hexdigest()[:16]


def outcomes(out: Path, draw: Draw, replicates: int, answers: Sequence[Answer], about: dict[str, Any]) -> list[Outcome]:
    """A scenario's outcomes, kept from an earlier call of the same code on the same pool."""
    key = {"draw": asdict(draw), "replicates": replicates, "pool": about["sha256"], "code": code_hash()}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    place = out / "scenarios" / f"{name}.json"
    if place.is_file():
        return [Outcome(**record) for record in json.loads(place.read_text(encoding="utf-8"))]
    found = study(answers, about, draw, replicates)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(".draft")
    artifacts.write_json(draft, [asdict(one) for one in found])
    draft.replace(place)
    return found


CASES = (("ppo", 1000, 0), ("ppo", 90, 0), ("sft", 300, 0))
"""Whose answers, how many prompts, labels: one of each verdict."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.toy_certificates", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts", help="where the pipeline's results are")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "toy_certificates", help="where pools are kept")
    parser.add_argument(
        "--pool", type=int, default=4000, help="answers of the trained policy; a quarter of the SFT policy's"
    )
    parser.add_argument("--replicates", type=int, default=1000, help="simulated certificates per scenario")
    given = parser.parse_args(arguments)
    if given.replicates < 1 or given.pool < 1:
        parser.error("--pool and --replicates must be at least 1")
    if artifacts.read_record(given.artifacts / "cost") is None:
        raise UserError(f"--artifacts={given.artifacts}: there is no cost model; make one with: python train.py")
    sizes = {"ppo": given.pool, "sft": max(1, given.pool // 4)}  # unsafe answers are rare in the first alone
    pools = {policy: pool(given.out, given.artifacts, policy, size) for policy, size in sizes.items()}
    found = [one for draw in DRAWS for one in outcomes(given.out, draw, given.replicates, *pools[draw.policy])]
    cases = [
        certificate(resampled(pools[policy][0], count, Random(f"case/{policy}/{count}")), pools[policy][1], labels)
        for policy, count, labels in CASES
    ]
    lines = [*outcome_lines(found), "", *case_lines(cases)]
    print("\n".join(lines))
    if given.replicates >= FULL:
        write_page_table(PAGE, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
