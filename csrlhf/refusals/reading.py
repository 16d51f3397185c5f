"""Read answers to train a judge on: XSTest's published completions, and labelled dialogues beside them.

A file of completions holds one model's answers, read by people: the columns ``prompt``, ``completion`` and
``final_label`` (1_full_compliance, 2_full_refusal or 3_partial_refusal), as in the repository of XSTest (Röttger et
al., arXiv 2308.01263).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from csrlhf.data.tables.readers import check_location, read_records
from csrlhf.errors import UserError
from csrlhf.refusals.words import language_of
from csrlhf.runs.artifacts import file_hash

COMPLIED, REFUSED, PARTLY = 0, 1, -1
"""An answer's label. One that refuses in part is left out of training, and counted by itself."""

LABELS = {"1_full_compliance": COMPLIED, "2_full_refusal": REFUSED, "3_partial_refusal": PARTLY}
FEWEST = 3
"""Models that a judge is trained on: its threshold is chosen where one of at least two others was left out."""


class Dialogue(NamedTuple):
    """A prompt, an answer, and what the answer is."""

    prompt: str
    response: str
    label: int


@dataclass(frozen=True)
class Source:
    """Dialogues from one place.

    Attributes:
        name: the model that answers.
        dialogues: in the file's order.
        sha256: of the file.
    """

    name: str
    dialogues: tuple[Dialogue, ...]
    sha256: str

    def count(self, label: int) -> int:
        """How many have a label."""
        return sum(one.label == label for one in self.dialogues)


def read_completions(paths: Sequence[str]) -> list[Source]:
    """The answers of each file's model.

    Raises:
        UserError: too few files, two of one name, a missing column, an unknown label, or a file without refusals or
            without full answers.
    """
    if len(paths) < FEWEST:
        raise UserError(
            f"--data: {len(paths)} file{'s' if len(paths) > 1 else ''}; name the completions of at least {FEWEST} "
            "models, a file each: one is left out at a time, to see how well the judge knows a model that it never saw"
        )
    found = [_completions(path) for path in paths]
    names = [source.name for source in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--data: two files of the model {twice}; name each model's completions once")
    return found


def _completions(path: str) -> Source:
    dialogues, records = [], read_records(_existing("--data", path))
    if records and not any(record.has("completion") for record in records):
        records[0].value("completion")  # the column itself is missing, and the message says which there are
    for record in records:
        label = record.word("final_label", LABELS)
        # A model may have said nothing, which CSV holds as an empty cell.
        response = record.text("completion") if record.has("completion") else ""
        dialogues.append(Dialogue(record.text("prompt"), response, label))
    name = Path(path).name.partition(".")[0].removeprefix("completions_")
    source = Source(name, tuple(dialogues), file_hash(Path(path).expanduser()))
    for label, words in ((REFUSED, "2_full_refusal"), (COMPLIED, "1_full_compliance")):
        if not source.count(label):
            raise UserError(f"{path}: no answer has the final_label {words}; a judge learns from both kinds")
    return source


def read_dialogues(path: str) -> Source:
    """Answers that comply with harmful requests: the Unsafe rows of a labelled file (``prompt, response, label``).

    XSTest has next to none, so that a judge could take every harmful request for a refused one. Rows that refuse
    by their words are left out; those that are Safe say nothing of refusals and are passed over.

    Raises:
        UserError: the file is missing, a column is, or no row is Unsafe.
    """
    rows = []
    for record in read_records(_existing("--dialogues", path)):
        if record.labels(("harm",)) == (1.0,) and record.has("response"):
            rows.append(Dialogue(record.text("prompt"), record.text("response"), COMPLIED))
    kept = tuple(row for row in rows if language_of(row.response) is None)
    if not kept:
        raise UserError(f"{path}: no row is labelled Unsafe; leave --dialogues out, or name a file that has some")
    return Source("dialogues", kept, file_hash(Path(path).expanduser()))


def _existing(key: str, path: str) -> str:
    if not Path(path).expanduser().is_file():
        raise UserError(f"{key} {path}: there is no such file")
    return str(Path(check_location(key, path)).expanduser())
