"""What policies answered and what scorers made of it: the file that every later analysis starts from.

``answers.jsonl`` holds one answer a line; ``answers.about.json`` beside it says where they come from, with the sha256
of the file, so that whoever reads it later knows whether it is still what was written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.prompt_sets import PROMPT_ID
from csrlhf.data.source import Oracle
from csrlhf.data.tables.readers import read_jsonl
from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError
from csrlhf.runs.artifacts import write_json, write_whole
from csrlhf.types import Prompt, PromptRow

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
            f"answer {answer.id}: reward={answer.reward}, kl={answer.kl}, cost_logits={answer.cost_logits}: a score is "
            "not a finite number; look at the model that gave it"
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
        raise UserError(f"{beside}: not valid JSON; delete it, the answers can be read without it") from error
    return {**about, "sha256": digest, "edited": about.get("sha256") != digest}


def _content(answers: Sequence[Answer]) -> bytes:
    _check_unique([(answer.id, "the answers to write") for answer in answers])
    return "".join(f"{answer_line(answer)}\n" for answer in answers).encode("utf-8")


def _check_unique(ids: Sequence[tuple[str, str]]) -> None:
    first: dict[str, str] = {}
    for identifier, place in ids:
        if identifier in first:
            raise UserError(f"{place}: the id {identifier!r} stands there and in {first[identifier]}: ids are unique")
        first[identifier] = place
