"""CS-RLHF against Safe-RLHF and the SFT policy, as the paper compares them: ``python -m benchmarks.paper``.

On the toy world. CS-RLHF is a semantic cost model under a fixed rectified penalty, Safe-RLHF a pairwise one under a
Lagrangian penalty: two of the runs of ``python -m benchmarks.losses``, whose folder this program shares. The policies
of a seed, of each run the handed-over and the last one, answer the same test prompts several times, plain ones and
jailbreaks; the oracle is the truth.
Everything that is finished is kept; called again, the program makes what is missing. docs/explanation/paper.md
compares the results with the paper's claims.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.paper import (
    OURS,
    RIVAL,
    agreement_table,
    attack_table,
    paired_table,
    paper_job,
    policy_table,
    read_seed,
)
from benchmarks.comparison.program import Program, call, parser
from benchmarks.comparison.settings import loss_settings
from benchmarks.comparison.tables import cost_table
from csrlhf.errors import UserError
from csrlhf.sweeping.pool import alone

SEEDS, SMOKE_SEEDS = (0, 1, 2), (0,)
TABLE = "paper.md"


def main(arguments: Sequence[str] | None = None) -> Program:
    """Run what is missing, then write the tables."""
    options = parser(__doc__, Path("artifacts/losses")).parse_args(arguments)
    if options.settings:
        raise UserError("--settings: the paper's comparison has its own; python -m benchmarks.losses takes some")
    program = Program.from_options(options)
    settings = [loss_settings()[name] for name in (OURS, RIVAL)]
    seeds = program.seeds or (SMOKE_SEEDS if options.smoke else SEEDS)
    jobs = {seed: paper_job(program.folders, seed) for seed in seeds}
    if not options.table:
        with alone(program.folders.out, program.folders.base):
            program.make(settings, seeds)
            trained = [seed for seed in seeds if all(program.folders.run(one, seed)[0].done() for one in settings)]
            program.pool.make([[jobs[seed]] for seed in trained])
    finished = {seed: read_seed(job) for seed, job in jobs.items() if job.done()}
    if not finished:
        raise UserError(f"--out {program.folders.out}: no seed is finished")
    runs = [run for run in program.finished(settings) if run.seed in finished]
    tables = [
        cost_table(program.folders, runs),
        policy_table(finished),
        attack_table(finished),
        paired_table(finished),
        agreement_table(finished),
    ]
    path = program.folders.out / TABLE
    path.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    print(f"seeds {', '.join(map(str, finished))}: {path}", flush=True)
    return program


if __name__ == "__main__":
    sys.exit(call(main))
