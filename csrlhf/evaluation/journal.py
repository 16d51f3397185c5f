"""Answers kept while they are computed, so that a killed evaluation goes on where it stood.

Each process appends the answers of one policy to one batch as JSON lines, below a first line that says which evaluation
they belong to. A batch counts where it is whole; what is missing is answered in the same batches as without the
interruption (the noise is a pure function of seed and index), and comes out the same to the digit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError, writing
from csrlhf.evaluation.answer import Answer, answer_line, answer_of


class Journal:
    """The answers of one evaluation so far, by policy and by their index among all that are asked for.

    Args:
        folder: where the files of all processes lie.
        about: the evaluation that the answers belong to, JSON-ready.
        rank: of this process, which writes its own file.

    Raises:
        UserError: kept answers are of another evaluation, or a line is broken.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], rank: int = 0) -> None:
        self._head = json.dumps(about, sort_keys=True)
        self._path = folder / f"answers-{rank}.jsonl"
        self._known: dict[tuple[str, int], Answer] = {}
        for path in sorted(folder.glob("answers-*.jsonl")):
            self._read(path)

    def holds(self, policy: str, index: Iterable[int]) -> bool:
        """True if all these answers of a policy are there."""
        return all((policy, number) in self._known for number in index)

    def answers(self, policy: str, index: Iterable[int]) -> list[Answer]:
        """These answers of a policy, which are there."""
        return [self._known[policy, number] for number in index]

    def append(self, index: Sequence[int], answers: Sequence[Answer]) -> None:
        """Write the answers of a batch, and wait until they are on the disk.

        Raises:
            UserError: a score is not a finite number.
        """
        pairs = zip(index, answers, strict=True)
        lines = [f'{{"index": {number}, "answer": {answer_line(answer)}}}\n' for number, answer in pairs]
        if not self._path.exists() or not self._path.stat().st_size:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, f"{self._head}\n")
        with writing(self._path), self._path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        """Take the whole lines of a file; the process that wrote it cuts off what a kill left behind them."""
        content = path.read_bytes()
        size = content.rfind(b"\n") + 1
        if path == self._path and size < len(content):
            os.truncate(path, size)
        head, *lines = content[:size].split(b"\n")[:-1] or [b""]
        if head and head.decode(errors="replace") != self._head:
            raise UserError(f"{path}:1: these answers are of another evaluation; start anew, without resume=true")
        for number, line in enumerate(lines, start=2):
            index, answer = _parsed(f"{path}:{number}", line)
            self._known[answer.policy, index] = answer


def kept_or_fresh(
    journal: Journal | None,
    policy: str,
    index: Sequence[int],
    everywhere: Iterable[int],
    answer: Callable[[], list[Answer]],
) -> list[Answer]:
    """A policy's answers to a batch: those in the journal, else fresh ones, which are kept there.

    Args:
        journal: None keeps none.
        policy: its name.
        index: numbers of the answers of this process.
        everywhere: of all processes: they take what stands together, or answer together.
        answer: answers the batch.
    """
    if journal is None:
        return answer()
    if journal.holds(policy, everywhere):
        return journal.answers(policy, index)
    answers = answer()
    journal.append(index, answers)
    return answers


def _parsed(place: str, line: bytes) -> tuple[int, Answer]:
    try:
        kept = json.loads(line)
        index, fields = int(kept["index"]), dict(kept["answer"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{place}: is not a kept answer, the file was changed; start anew, without resume=true"
        ) from error
    return index, answer_of(Record(place, fields))
