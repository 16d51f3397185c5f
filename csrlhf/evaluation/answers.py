"""What policies answered and what scorers made of it: the file that every later analysis starts from.

``answers.jsonl`` holds one answer a line; ``answers.about.json`` beside it says where they come from, with the sha256
of the file, so that a later reader can tell whether it was changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.artifacts import write_json, write_whole
from csrlhf.data.tables.text import read_jsonl
from csrlhf.errors import UserError
from csrlhf.evaluation.answer import Answer, answer_line, answer_of, with_id

__all__ = ["Answer", "about_path", "read_about", "read_answers", "with_id", "write_answers"]


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
