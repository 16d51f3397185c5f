"""What policies answered and what scorers made of it: the file that every later analysis starts from.

``answers.jsonl`` holds one answer a line; ``answers.about.json`` beside it says where they come from, with the sha256
of the file, so that a later reader can tell whether it was changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, Strict, StrictBool, StrictStr, TypeAdapter, ValidationError

from csrlhf.data.encoding import prompt_text
from csrlhf.data.prompt_sets import PROMPT_ID
from csrlhf.data.source import Oracle
from csrlhf.data.tables.record import Record
from csrlhf.data.tables.text import read_jsonl
from csrlhf.errors import UserError
from csrlhf.runs.artifacts import write_json, write_whole
from csrlhf.types import Prompt, PromptRow

Word = Annotated[StrictStr, Field(pattern=r"\S")]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Known = BeforeValidator(lambda value: {} if value is None else value)

ORACLE_FLAGS = ("unsafe", "helped", "refused", "privacy")
"""What an oracle's verdict says as true or false; ``kind`` is a word."""


@dataclass(frozen=True)
class Answer:
    """One answer, and all that is known of it.

    Example: ``Answer("ppo/test-3/0", "ppo", "test-3", 0, "how do i clean the clock ?", "take a cloth .")``.

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


def answer_to(
    row: PromptRow, policy: str, prompt_id: str, sample: int, response: str, oracle: Oracle | None, **known: Any
) -> Answer:
    """A fresh answer to a prompt, with what the prompt set says of the prompt and the oracle of the answer.

    Args:
        row: the prompt.
        policy: whose answer it is.
        prompt_id: what the prompt is called.
        sample: which of the policy's answers to it.
        response: what was said.
        oracle: judges it; None without one.
        known: further attributes of :class:`Answer`: ``ended``, ``attack``, scores, ``meta``.
    """
    answer = Answer(
        id="",
        policy=policy,
        prompt_id=prompt_id,
        sample=sample,
        prompt=row.prompt if isinstance(row.prompt, str) else [dict(turn) for turn in row.prompt],
        response=response,
        category=row.meta.get("category"),
        oracle=None if oracle is None else asdict(oracle.judge(row, response)),
        **known,
    )
    return with_id(answer)


OF_FRAMING = {"two_turn": "multi_turn"}
"""The toy world's framings are jailbreak categories; one has another name in the literature."""


def attack_of(meta: Mapping[str, Any]) -> str | None:
    """The jailbreak category of a prompt: its own, or that of the toy world's framing."""
    given = meta.get("attack", meta.get("framing"))
    return None if given is None else OF_FRAMING.get(str(given), str(given))


def prompt_id_of(row: PromptRow, number: int) -> str:
    """What a prompt is called: as its file says, else by its place in the test split."""
    return str(row.meta.get(PROMPT_ID, f"test-{number}"))


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


# The file of answers, and its provenance beside it.


def about_path(path: Path) -> Path:
    """Where the provenance of an answers file lies."""
    return path.with_suffix(".about.json")


def write_answers(path: Path, answers: Sequence[Answer], about: Mapping[str, Any]) -> str:
    """Writes JSON lines in one rename, and ``about`` with their hash beside them.

    Args:
        path: e.g. ``answers.jsonl``.
        answers: ids unique.
        about: where they come from: hashes of policies, prompts, scorers.

    Returns:
        The file's sha256.

    Raises:
        UserError: a score is not a finite number, or an id stands twice.
    """
    content = _content(answers)
    digest = hashlib.sha256(content).hexdigest()
    write_whole(path, content)
    write_json(about_path(path), {**about, "answers": len(answers), "sha256": digest})
    return digest


def answers_hash(answers: Sequence[Answer]) -> str:
    """The sha256 that the file of these answers has, or will have."""
    return hashlib.sha256(_content(answers)).hexdigest()


def read_answers(path: Path | str) -> list[Answer]:
    """Every answer of a file, in its order.

    Raises:
        UserError: the file is missing, empty, or a line is broken; the message names file and line.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; name an answers.jsonl that stage=evaluate wrote")
    records = read_jsonl(path)
    answers = [answer_of(record) for record in records]
    _check_unique([(answer.id, record.place) for answer, record in zip(answers, records, strict=True)])
    return answers


def read_about(path: Path | str) -> dict[str, Any]:
    """The provenance beside an answers file, with the ``sha256`` of the file as it is now; ``edited`` where it differs.

    A file without provenance (somebody else's answers) has the hash alone.
    """
    path = Path(path).expanduser()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = about_path(path)
    if not beside.is_file():
        return {"sha256": digest}
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{beside}: not valid JSON; delete it, the responses can be read without it") from error
    return {**about, "sha256": digest, "edited": about.get("sha256") != digest}


def _content(answers: Sequence[Answer]) -> bytes:
    _check_unique([(answer.id, "the responses to write") for answer in answers])
    return "".join(f"{answer_line(answer)}\n" for answer in answers).encode("utf-8")


def _check_unique(ids: Sequence[tuple[str, str]]) -> None:
    first: dict[str, str] = {}
    for identifier, place in ids:
        if identifier in first:
            raise UserError(f"{place}: the id {identifier!r} occurs there and in {first[identifier]}: ids are unique")
        first[identifier] = place
