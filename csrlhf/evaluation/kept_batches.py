"""Answers in the order in which they are drawn, a file per batch: what a kill leaves, and what a run goes on from.

Each batch is a small answers file, written in one rename and with its hash beside it. Only whole batches count, and
only where their prompts are those of the batch that would be drawn: a draw depends on seed and prompt number, and in
float32 by rounding on its batch, so that what is read here is what would be drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer, read_about, read_answers, write_answers
from csrlhf.types import PromptRow


class KeptBatches:
    """The batches of one run; processes share the folder, since each has batches of its own.

    Args:
        folder: is made when the first batch is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def add(self, index: Sequence[int], answers: Sequence[Answer]) -> None:
        """Keep a batch.

        Args:
            index: numbers of its prompts.
            answers: to each of them.
        """
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_answers(self._path(self.folder, index), answers, {"index": list(index)})

    def find(self, index: Sequence[int], rows: Sequence[PromptRow]) -> list[Answer] | None:
        """The answers of a batch that was kept; None where it has to be drawn.

        Args:
            index: numbers of its prompts.
            rows: the prompts.

        Raises:
            UserError: the file was changed since it was written.
        """
        path = None if self.folder is None else self._path(self.folder, index)
        if path is None or not path.is_file():
            return None
        about = read_about(path)
        if about.get("index") != list(index):  # another batch size, or the kill came before the hash was written
            return None
        if about["edited"]:
            raise UserError(f"{path}: was changed after it was written; delete it and run again")
        answers = read_answers(path)
        same = [answer.messages for answer in answers] == [row.prompt for row in rows]
        return answers if same else None

    @staticmethod
    def _path(folder: Path, index: Sequence[int]) -> Path:
        return folder / f"{index[0]:08d}-{index[-1]:08d}.jsonl"
