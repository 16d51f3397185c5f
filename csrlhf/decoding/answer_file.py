"""Answers as JSON lines that survive a kill: whole groups are appended, and what stands is verified first.

A group is what is drawn together. A file that was cut off is shortened to its whole groups, so that what follows is
drawn in the same batches, and comes out the same, as without the interruption.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csrlhf.decoding.candidates import Decoded, number
from csrlhf.decoding.prompt_file import Question
from csrlhf.errors import UserError, writing


class AnswerFile:
    """The file of one run.

    Args:
        path: where it stands; its folder exists.
        questions: all that will be answered, in order.
        group: how many are answered at a time.
    """

    def __init__(self, path: Path, questions: Sequence[Question], group: int) -> None:
        self.path, self.questions, self.group = path, questions, group

    def resume(self) -> list[dict[str, Any]]:
        """The answers that stand, of whole groups; whatever follows them is cut off.

        Raises:
            UserError: a line is not the answer to its question: somebody has edited the file.
        """
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        records = [self._verified(row, line) for row, line in enumerate(lines)]
        if len(records) < len(self.questions):
            records = records[: len(records) // self.group * self.group]
        size = sum(len(line) + 1 for line in lines[: len(records)])
        with self.path.open("r+b") as file:
            file.truncate(size)
        return records

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write a group's answers, and wait until they are on the disk."""
        text = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        with writing(self.path), self.path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _verified(self, row: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or row >= len(self.questions) or not _answers(record, self.questions[row]):
            raise UserError(
                f"{self.path}:{row + 1}: is not the response to prompt {row + 1} of this run, the file was changed; "
                "delete it and run again"
            )
        return record


def _answers(record: dict[str, Any], question: Question) -> bool:
    prompt = question.prompt if isinstance(question.prompt, str) else list(question.prompt)
    return record.get("id") == question.id and record.get("prompt") == prompt and "response" in record


def answer_record(question: Question, said: Decoded, settings: dict[str, Any], candidates: bool) -> dict[str, Any]:
    """An answer as JSON-ready containers.

    Args:
        question: what was asked.
        said: what was answered.
        settings: of the whole run, repeated on each line: rule, n, threshold, seed, certificate.
        candidates: keep all that were drawn.
    """
    record = {
        "id": question.id,
        "prompt": question.prompt if isinstance(question.prompt, str) else list(question.prompt),
        "response": said.response,
        "abstained": said.abstained,
        "tried": said.tried,
        "reward": number(said.reward),
        "costs": {name: number(value) for name, value in said.cost.items()},
        **settings,
    }
    return record | {"candidates": [one.record() for one in said.candidates]} if candidates else record
