"""What ``stage=decode`` reads and writes: prompts, a line of ``decoded.jsonl`` for each, and the numbers of all lines.

How an answer comes about is ``decoder.py``'s part, how lines survive a kill ``journal.py``'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from csrlhf.data.tables.readers import check_location, read_records
from csrlhf.data.tables.record import Record
from csrlhf.generation.candidates import Decoded, number
from csrlhf.generation.decoder import Decoder
from csrlhf.types import Prompt

COLUMNS = ("prompt", "messages")
"""The table has one of the two; splits, labels and all else that a stage trains on are left out."""


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
        location: a file of any format (``tables/readers.py``), a ``datasets`` folder, or ``owner/name:split``.
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


# What is written of them: a line per prompt, and the numbers of all lines.


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
        **({} if said.thought is None else {"thought": said.thought}),
        **settings,
    }
    return record | {"candidates": [one.record() for one in said.candidates]} if candidates else record


def batches_of(decoder: Decoder, count: int) -> list[range]:
    """The prompts that are answered, and kept, together: as many as the decoder draws at once."""
    size = max(1, decoder.drawing.batch_size // (decoder.n if decoder.rule == "best" else 1))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def answer_records(
    decoder: Decoder,
    questions: Sequence[Question],
    numbers: Sequence[int],
    certificate: Mapping[str, Any] | None,
    candidates: bool,
) -> list[dict[str, Any]]:
    """The lines of one batch.

    Args:
        decoder: answers.
        questions: all of them.
        numbers: those of this batch.
        certificate: the certificate of these answers; each line names it.
        candidates: keep all that were drawn.
    """
    settings = {
        "rule": decoder.rule,
        "n": decoder.n,
        "threshold": decoder.thresholds,
        "seed": decoder.drawing.seed,
        "certificate": None if certificate is None else certificate["sha256"],
    }
    asked = [questions[number] for number in numbers]
    said = decoder([one.prompt for one in asked], numbers)
    return [answer_record(one, answer, settings, candidates) for one, answer in zip(asked, said, strict=True)]


def record_line(record: Mapping[str, Any]) -> str:
    """A line as JSON."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


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
