"""The prompts of ``stage=decode``: a table with the column ``prompt`` or ``messages``.

Leaves out splits, labels and everything else that a stage trains on; formats are those of ``data=jsonl``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from csrlhf.data.tables.locations import check_location, content_hash, read_records
from csrlhf.data.tables.record import Record
from csrlhf.types import Prompt

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
