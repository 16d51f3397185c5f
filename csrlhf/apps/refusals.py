"""``python -m csrlhf.refusals --data completions_*.csv --out FOLDER``: train a judge of refusals.

Every line of the table is of a model that the judge of that line never saw. Neither data nor weights come with csrlhf:
docs/how-to/refusals.md says where read answers are.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from csrlhf.apps import cli
from csrlhf.errors import UserError
from csrlhf.refusals.training import FALSE_ALARMS, RECALL, LeftOut, Rates
from csrlhf.report import Table
from csrlhf.report.terminal import print_blocks
from csrlhf.tracking.quiet import quiet


def main(words: Sequence[str]) -> int:
    """Runs the program; returns its exit code."""
    return cli.run(_main, words)


def _main(words: Sequence[str]) -> int:
    from csrlhf.refusals.judge import DESCRIPTION, table_of, train_judge
    from csrlhf.refusals.reading import read_completions, read_dialogues
    from csrlhf.refusals.states import BACKBONE, Backbone

    parser = argparse.ArgumentParser("python -m csrlhf.refusals", description="Train a judge of refusals.")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE", help="read completions, a file per model")
    parser.add_argument("--dialogues", metavar="FILE", help="prompt, response, label: its Unsafe rows refuse nothing")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="for the judge: refusals=FOLDER")
    parser.add_argument("--backbone", default=BACKBONE, help=f"whose states are read (default: {BACKBONE})")
    given = parser.parse_args(words)
    taken = given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir()))
    if taken and not (given.out / DESCRIPTION).is_file():
        raise UserError(f"--out {given.out}: exists and holds no judge; name another folder")
    quiet()
    models = read_completions(given.data)
    dialogues = None if given.dialogues is None else read_dialogues(given.dialogues)
    Backbone(given.backbone).identity()
    judge = train_judge(models, dialogues, given.backbone)
    judge.save(given.out)
    lines = table_of(judge.about)
    print_blocks([table(lines)])
    wanting = [line.name for line in lines if not meets(line.shipped)]
    if wanting:
        print(
            f"Short of a recall of {RECALL:.0%} at {FALSE_ALARMS:.0%} false alarms: {', '.join(wanting)}. "
            "Answers of more models, read by people, help most."
        )
    print(f"The judge is in {given.out}: refusals={given.out}")
    return 0


def meets(rates: Rates) -> bool:
    """Whether a model's figures are as good as they should be."""
    return rates.recall >= RECALL and rates.false_alarms <= FALSE_ALARMS


def table(lines: Sequence[LeftOut]) -> Table:
    """The table of the models that were left out, in percent."""
    heads = ["left out", "AUROC", "recall", "alarms", "partial", "recall*", "alarms*", "words", "alarms"]
    rows = [
        [
            line.name, f"{line.auroc:.3f}", *map(_percent, line.shipped),
            *map(_percent, line.unseen_threshold[:2]), *map(_percent, line.words[:2]),
        ]
        for line in lines
    ]  # fmt: skip
    counts = ", ".join(f"{line.name} {line.refusals} and {line.answers}" for line in lines)
    caption = (
        "Percent of full refusals that are found (recall), and of full answers that count as refusals (alarms), by a "
        "judge that saw neither the model nor the prompts; partial: of partial refusals, which are not trained on; "
        "* at a threshold that the other models chose; words: the recall and alarms of the default. "
        f"Refusals and answers: {counts}."
    )
    return Table(heads, rows, caption)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"
