"""An answer, and its place in a file: one JSON object on a line, checked as it is read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError
from csrlhf.types import Prompt

ORACLE_FLAGS = ("unsafe", "helped", "refused", "privacy")
"""What an oracle's verdict says as true or false; ``kind`` is a word."""


@dataclass(frozen=True)
class Answer:
    """One answer, and all that is known of it.

    Example: ``Answer("ppo/test-3/0", "ppo", "test-3", 0, "how do i bake bread ?", "take a bowl .")``.

    Attributes:
        id: ``<policy>/<prompt id>/<sample>``: unique in a file.
        policy: whose answer it is.
        prompt_id: the same for all answers to one prompt, whichever policy gives them.
        sample: 0, 1, ... where a policy answers a prompt several times.
        prompt: a text, or chat messages.
        response: decoded text, without special tokens; may be empty.
        ended: the end token was generated.
        category: harm or benign category of the prompt.
        attack: jailbreak category of the prompt (``plain`` for none).
        reward: of the reward model.
        cost_logits: by constraint, > 0 unsafe.
        violations: by constraint, the answer's own cost on the constraint's scale (before tail or margin).
        kl: log π - log π_ref of the whole answer, nats.
        oracle: the verdict of a world with a ground truth: unsafe, helped, refused, kind, privacy.
        meta: what else the prompt set says of the prompt.
    """

    id: str
    policy: str
    prompt_id: str
    sample: int
    prompt: str | list[dict[str, str]]
    response: str
    ended: bool = True
    category: str | None = None
    attack: str | None = None
    reward: float | None = None
    cost_logits: dict[str, float] = field(default_factory=dict)
    violations: dict[str, float] = field(default_factory=dict)
    kl: float | None = None
    oracle: dict[str, Any] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The prompt as readable text."""
        return prompt_text(self.messages)

    @property
    def messages(self) -> Prompt:
        """The prompt as policies and scorers take it."""
        return self.prompt if isinstance(self.prompt, str) else tuple(self.prompt)


COLUMNS = tuple(column.name for column in fields(Answer))


def with_id(answer: Answer) -> Answer:
    """The answer with the id that its policy, prompt and sample make."""
    return replace(answer, id=f"{answer.policy}/{answer.prompt_id}/{answer.sample}")


def answer_line(answer: Answer) -> str:
    """The answer as JSON on one line.

    Raises:
        UserError: a score is not a finite number.
    """
    try:
        return json.dumps(asdict(answer), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise UserError(
            f"response {answer.id}: reward={answer.reward}, kl={answer.kl}, cost_logits={answer.cost_logits}: a score "
            "is not a finite number; check the model that gave it"
        ) from error


def answer_of(record: Record) -> Answer:
    """The answer that a line holds.

    Raises:
        UserError: a column is missing, unknown, or of the wrong kind; the message names the line's place.
    """
    unknown = [name for name in record.fields if name not in COLUMNS]
    if unknown:
        raise record.error(f"unknown column {unknown[0]}; put what is known of the prompt beside it into meta")
    policy, prompt_id = record.text("policy"), record.text("prompt_id")
    response = record.value("response")
    if not isinstance(response, str):
        raise record.error(f"response must be a text, not {type(response).__name__}")
    prompt = record.prompt()
    return Answer(
        id=record.text("id"),
        policy=policy,
        prompt_id=prompt_id,
        sample=_whole(record, "sample"),
        prompt=prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt],
        response=record.encodable(response, "response"),
        ended=record.flag("ended") if record.has("ended") else True,
        category=_word(record, "category"),
        attack=_word(record, "attack"),
        reward=_number(record, "reward"),
        cost_logits=_numbers(record, "cost_logits"),
        violations=_numbers(record, "violations"),
        kl=_number(record, "kl"),
        oracle=_oracle(record),
        meta=_mapping(record, "meta"),
    )


def _word(record: Record, column: str) -> str | None:
    return None if record.fields.get(column) is None else record.text(column)


def _whole(record: Record, column: str) -> int:
    value = record.fields.get(column, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise record.error(f"{column} is {value!r}: it must be a whole number >= 0")
    return value


def _number(record: Record, column: str) -> float | None:
    return None if record.fields.get(column) is None else record.number(column)


def _mapping(record: Record, column: str) -> dict[str, Any]:
    value = record.fields.get(column)
    if value is not None and not isinstance(value, dict):
        raise record.error(f"{column} must be an object, not {type(value).__name__}")
    return dict(value or {})


def _numbers(record: Record, column: str) -> dict[str, float]:
    values = _mapping(record, column)
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise record.error(f"{column}.{name} is {value!r}: it must be a number")
    return {name: float(value) for name, value in values.items()}


def _oracle(record: Record) -> dict[str, Any] | None:
    if record.fields.get("oracle") is None:
        return None
    verdict = _mapping(record, "oracle")
    broken = [name for name in ORACLE_FLAGS if not isinstance(verdict.get(name), bool)]
    if broken:
        raise record.error(f"oracle.{broken[0]} is {verdict.get(broken[0])!r}: it must be true or false")
    return verdict
