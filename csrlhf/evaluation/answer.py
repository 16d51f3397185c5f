"""An answer, and its place in a file: one JSON object on a line, checked as it is read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, Strict, StrictBool, StrictStr, TypeAdapter, ValidationError

from csrlhf.data.encoding import prompt_text
from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError
from csrlhf.types import Prompt

Word = Annotated[StrictStr, Field(pattern=r"\S")]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Known = BeforeValidator(lambda value: {} if value is None else value)

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

    __pydantic_config__ = ConfigDict(extra="forbid")
    id: Word
    policy: Word
    prompt_id: Word
    sample: Annotated[int, Strict(), Field(ge=0)]
    prompt: str | list[dict[str, str]]
    response: StrictStr
    ended: StrictBool = True
    category: Word | None = None
    attack: Word | None = None
    reward: Number | None = None
    cost_logits: Annotated[dict[str, Number], Known] = field(default_factory=dict)
    violations: Annotated[dict[str, Number], Known] = field(default_factory=dict)
    kl: Number | None = None
    oracle: dict[str, Any] | None = None
    meta: Annotated[dict[str, Any], Known] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The prompt as readable text."""
        return prompt_text(self.messages)

    @property
    def messages(self) -> Prompt:
        """The prompt as policies and scorers take it."""
        return self.prompt if isinstance(self.prompt, str) else tuple(self.prompt)


SHAPE = TypeAdapter(Answer)
WRONG = {
    "string_type": "{column} must be a text, not {kind}",
    "string_pattern_mismatch": "{column} is empty: drop the line or fill it",
    "dict_type": "{column} must be an object, not {kind}",
    "bool_type": "{column} is {value!r}: it must be true or false",
    "float_type": "{column} is {value!r}: it must be a number",
    "finite_number": "{column} is {value!r}: it must be a number",
    "int_type": "{column} is {value!r}: it must be a whole number >= 0",
    "greater_than_equal": "{column} is {value!r}: it must be a whole number >= 0",
    "unexpected_keyword_argument": "unknown column {column}; put what is known of the prompt beside it into meta",
}
"""What is said of a value, by pydantic's name of the mistake."""


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
            f"answer {answer.id}: reward={answer.reward}, kl={answer.kl}, cost_logits={answer.cost_logits}: a score is "
            "not a finite number; look at the model that gave it"
        ) from error


def answer_of(record: Record) -> Answer:
    """The answer that a line holds.

    Raises:
        UserError: a column is missing, unknown, or of the wrong kind; the message names the line's place.
    """
    for column in ("id", "policy", "prompt_id", "response"):
        record.value(column)
    for column, value in record.fields.items():
        record.encodable(value if isinstance(value, str) else "", column)
    prompt = record.prompt()
    given = {"sample": 0, **record.fields, "prompt": prompt if isinstance(prompt, str) else list(prompt)}
    try:
        answer = SHAPE.validate_python(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        column, value = ".".join(map(str, wrong["loc"])), wrong["input"]
        message = WRONG.get(wrong["type"], "{column} is {value!r}: {msg}")
        known = {"column": column, "value": value, "kind": type(value).__name__, "msg": wrong["msg"]}
        raise record.error(message.format(**known)) from error
    if (verdict := answer.oracle) is not None:
        for name in ORACLE_FLAGS:
            if not isinstance(verdict.get(name), bool):
                raise record.error(f"oracle.{name} is {verdict.get(name)!r}: it must be true or false")
    return answer
