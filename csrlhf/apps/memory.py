"""``python -m csrlhf.memory key=value ...``: what each stage will hold in memory per device, before anything is run.

Takes the overrides of train.py. Nothing is trained, and of a model on the Hub only its configuration is read. What
a stage holds is counted where it is declared (``csrlhf/runs/stages``).
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose, initialize_config_dir

from csrlhf.apps import cli
from csrlhf.config import search_path
from csrlhf.config.overrides import prepared
from csrlhf.errors import UserError
from csrlhf.report import Table
from csrlhf.report.terminal import print_blocks
from csrlhf.runs.memory import SFT, Row
from csrlhf.runs.stages.base import declaration
from csrlhf.tracking.quiet import quiet

GB = 1e9


def rows_of(words: Sequence[str]) -> list[Row]:
    """The lines of all stages of the pipeline that count theirs, in order.

    Args:
        words: overrides of the configuration.

    Raises:
        UserError: a value is wrong, or a model's configuration is not there.
    """
    if any(word.startswith("stage=") for word in words):
        raise UserError("stage=...: leave it out, all stages are shown")
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        stages = compose("train", [*words, "stage=pipeline"]).stage.stages
        cfgs = [compose("train", [*words, f"stage={stage}", f"inputs.sft={SFT}"]) for stage in stages]
    counts = [(declaration(cfg.stage.declaration).memory, cfg) for cfg in cfgs]
    return [row for count, cfg in counts if count is not None for row in count(cfg)]


def peak(rows: Sequence[Row], stage: str) -> int:
    """A stage's sum: all models, and the larger of what comes and goes."""
    mine = [row for row in rows if row.stage == stage]
    return sum(row.weights + row.gradients + row.states for row in mine) + max(row.passing for row in mine)


def main(words: Sequence[str]) -> int:
    """Print the table; report mistakes as train.py does."""
    return cli.run(_main, words)


def _main(words: Sequence[str]) -> int:
    quiet()
    rows = rows_of(prepared(words))
    columns = ["stage", "what", "weights", "gradients", "optimiser", "passing"]
    lines: list[list[object]] = []
    sums: list[int] = []
    for stage in dict.fromkeys(row.stage for row in rows):
        for row in (row for row in rows if row.stage == stage):
            numbers = (row.weights, row.gradients, row.states, row.passing)
            lines.append([stage, row.what, *(number / GB if number else None for number in numbers)])
        sums.append(len(lines))
        lines.append([stage, "most at once", None, None, None, peak(rows, stage) / GB])
    formats = dict.fromkeys(columns[2:], 3)
    print_blocks([Table(columns, lines, "Memory per device in GB (10^9 bytes)", formats, marked=sums)])
    print("Without the working space of kernels and of the framework: plan with 10 to 20 % more.")
    return 0
