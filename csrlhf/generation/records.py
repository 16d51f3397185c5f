"""The numbers of a file of answers: ``metrics.json`` of ``stage=decode``, and its line on the terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from csrlhf.data.tables.readers import check_location, content_hash, read_records
from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError, writing
from csrlhf.generation.candidates import Decoded, number
from csrlhf.generation.decoder import Decoder
from csrlhf.types import Prompt

# The prompts of ``stage=decode``: a table with the column ``prompt`` or ``messages``.
#
# Leaves out splits, labels and everything else that a stage trains on; formats are those of ``data=jsonl``.

COLUMNS = ("prompt", "messages")


@dataclass(frozen=True)
class Question:
    """A prompt to answer.

    Attributes:
        id: from the column ``id``, else the row's number, from 0.
        prompt: what to answer.
        place: ``file:line``, for messages.
    """

    id: Any
    prompt: Prompt
    place: str


def read_questions(location: str, key: str = "decode.prompts") -> list[Question]:
    """All prompts of a file, in its order.

    Args:
        location: a ``.jsonl``, ``.csv`` or ``.parquet`` file, a ``datasets`` folder, or ``owner/name:split``.
        key: what named it, for messages.

    Raises:
        UserError: the file is missing, a row is broken, or two rows have one id; the message names file and line.
    """
    records = read_records(check_location(key, location))
    questions: list[Question] = []
    places: dict[Any, str] = {}
    for row, record in enumerate(records):
        name = _id(record) if record.has("id") else row
        if name in places:
            raise record.error(f"the id {name!r} is already in {places[name]}; give every prompt its own id")
        places[name] = record.place
        questions.append(Question(name, _prompt(record), record.place))
    return questions


def questions_hash(location: str) -> str:
    """sha256 of what the file holds."""
    return content_hash(location)


def _id(record: Record) -> Any:
    value = record.value("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise record.error(f"id is {value!r}: it must be a text or a whole number")
    return value


def _prompt(record: Record) -> Prompt:
    given = [column for column in COLUMNS if record.has(column)]
    if len(given) != 1:
        what = "both prompt and messages are there: keep one" if given else "the column prompt (or messages) is missing"
        raise record.error(f"{what} (columns: {', '.join(map(str, record.fields))})")
    return record.messages("messages", last="user") if given == ["messages"] else record.prompt()


# Answers as JSON lines that survive a kill: whole groups are appended, and what stands is verified first.
#
# A group is what is drawn together. A file that was cut off is shortened to its whole groups, so that what follows is
# drawn in the same batches, and comes out the same, as without the interruption.


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


# All prompts of a file answered, a group at a time, behind what an earlier process has answered already.


def answered(
    decoder: Decoder,
    questions: Sequence[Question],
    path: Path,
    certificate: Mapping[str, Any] | None,
    candidates: bool,
) -> Iterator[list[dict[str, Any]]]:
    """Answers, and writes down each group before the next.

    Args:
        decoder: answers.
        questions: all of them.
        path: the file of answers; its folder exists.
        certificate: the certificate of these answers; each line names it.
        candidates: keep all that were drawn.

    Yields:
        The lines of the file so far: first those that stand, then after each group.

    Raises:
        UserError: a line that stands is not the answer to its question.
    """
    settings = {
        "rule": decoder.rule,
        "n": decoder.n,
        "threshold": decoder.thresholds,
        "seed": decoder.drawing.seed,
        "certificate": None if certificate is None else certificate["sha256"],
    }
    group = max(1, decoder.drawing.batch_size // (decoder.n if decoder.rule == "best" else 1))
    file = AnswerFile(path, questions, group)
    records = file.resume()
    yield records
    for start in range(len(records), len(questions), group):
        part = questions[start : start + group]
        answers = decoder([one.prompt for one in part], range(start, start + len(part)))
        fresh = [answer_record(one, said, settings, candidates) for one, said in zip(part, answers, strict=True)]
        file.append(fresh)
        records += fresh
        yield records


def answer_numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What docs/reference/metrics.md lists under ``decode/``.

    Args:
        records: lines of the file; at least one.
    """
    answered = [record for record in records if not record["abstained"]]
    rewards = [record["reward"] for record in answered if record["reward"] is not None]
    found = {
        "decode/prompts": float(len(records)),
        "decode/abstained": fmean(record["abstained"] for record in records),
        "decode/tried": fmean(record["tried"] for record in records),
    }
    if rewards:
        found["decode/reward"] = fmean(rewards)
    for name in answered[0]["costs"] if answered else ():
        found[f"decode/{name}/cost"] = fmean(record["costs"][name] for record in answered)
    return found


def summary(metrics: Mapping[str, float]) -> str:
    """The same in one line."""
    reward = f", mean reward {metrics['decode/reward']:.3f}" if "decode/reward" in metrics else ""
    return (
        f"decode: {metrics['decode/prompts']:.0f} prompts, {metrics['decode/abstained']:.1%} without an "
        f"accepted response, {metrics['decode/tried']:.2f} candidates each{reward}"
    )
