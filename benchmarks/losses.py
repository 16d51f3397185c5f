"""Two cost losses by two penalties on the toy world: ``python -m benchmarks.losses``.

Semantic (labels) and pairwise (Safe-RLHF) cost models, each with ``penalty=rectified`` and ``penalty=lagrangian`` as
their YAML has them. Everything that is finished is kept under ``--out``; called again, the program makes what is
missing. ``--base artifacts/penalties`` takes the SFT, reward and cost models that ``benchmarks.penalties`` has made.
docs/explanation/losses.md says what is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.program import Program, call, parser
from benchmarks.comparison.settings import choose, loss_settings
from benchmarks.comparison.tables import cost_table
from csrlhf.sweeping.pool import alone

SEEDS, SMOKE_SEEDS = (0, 1, 2), (0,)


def main(arguments: Sequence[str] | None = None) -> Program:
    """Run what is missing, then report."""
    options = parser(__doc__, Path("artifacts/losses")).parse_args(arguments)
    program = Program.from_options(options)
    settings = loss_settings()
    if not options.table:
        with alone(program.folders.out, program.folders.base):
            chosen = [settings[name] for name in choose(options.settings or ["all"], list(settings))]
            program.make(chosen, program.seeds or (SMOKE_SEEDS if options.smoke else SEEDS))
    runs = program.finished(list(settings.values()))
    program.report(runs, [cost_table(program.folders, runs)] if runs else [])
    return program


if __name__ == "__main__":
    sys.exit(call(main))
