"""Usual layouts of rows, brought into the columns that :mod:`csrlhf.data.jsonl` knows.

| columns | become |
|---|---|
| ``messages`` (``role``, ``content``), ``conversations`` (ShareGPT: ``from``, ``value``) | ``prompt``, ``response`` |
| ``prompt, completion`` (texts, or turns) | ``prompt``, ``response`` |
| ``chosen, rejected`` as turns | ``prompt``, and two texts |

Of a conversation the last answer is the response, all turns before it are the prompt.
"""

from __future__ import annotations

import reprlib
from dataclasses import replace
from typing import Any

from csrlhf.data.tables.record import LeftOut, Record, as_prompt, present
from csrlhf.types import Messages

SPEAKERS = {
    "human": "user", "user": "user", "system": "system",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant",
}  # fmt: skip
"""Roles by the names that ShareGPT's ``from`` has for them."""

ANSWERS = ("response", "completion", "chosen")
"""Beside one of these, ``messages`` is somebody's own column."""


def standard(record: Record) -> Record:
    """The row with the columns ``prompt``, ``response``, ``chosen`` and ``rejected`` as far as it has them.

    Raises:
        RowError: turns are no conversation, or a pair has no prompt.
        LeftOut: a pair answers two different prompts.
    """
    if record.has("chosen") and record.has("rejected"):
        return _with(record, _pair(record))
    if record.has("completion") and not record.has("response"):
        return _with(record, {"response": _answer(record, "completion")})
    column = next((name for name in ("messages", "conversations") if record.has(name)), None)
    if column is None or any(record.has(name) for name in ANSWERS):
        return record
    turns = record.structure(column)
    if column == "conversations":
        turns = _from_sharegpt(record, turns)
    return _with(record, _exchange(record, column, turns))


def _with(record: Record, fields: dict[str, Any]) -> Record:
    return replace(record, fields=record.fields | fields)


def _exchange(record: Record, column: str, turns: Any) -> dict[str, Any]:
    """A conversation as prompt and response; as a prompt alone where the user has the last word."""
    if isinstance(turns, list) and turns and isinstance(turns[-1], dict) and turns[-1].get("role") == "user":
        return {"prompt": list(record.conversation(turns, column, last="user"))}
    before, said = split_off(record, turns, column)
    return {"prompt": _prompt(before), "response": said}


def split_off(record: Record, turns: Any, what: str) -> tuple[Messages, str]:
    """The turns before the last one, and the last one's text, which must be the assistant's.

    Raises:
        RowError: the turns are no conversation, or the last answer has no user's turn before it.
    """
    checked = record.conversation(turns, what, last="assistant")
    before = record.conversation(list(checked[:-1]), f"the turns of {what} before the last", last="user")
    return before, checked[-1]["content"]


def _prompt(turns: Messages) -> Any:
    """What a cell of the column ``prompt`` would hold: a single turn of the user's is a text."""
    prompt = as_prompt(turns)
    return prompt if isinstance(prompt, str) else list(prompt)


def _from_sharegpt(record: Record, turns: Any) -> Any:
    """ShareGPT's turns with our keys; turns that have them already, and what is no list, as they are."""
    if not isinstance(turns, list):
        return turns
    found = []
    for turn in turns:
        fields = present(turn) if isinstance(turn, dict) else turn
        if not isinstance(fields, dict) or "from" not in fields:
            found.append(turn)
            continue
        speaker = fields.get("from")
        role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
        if role is None:
            raise record.error(f"a turn is from {reprlib.repr(speaker)}: it must be human, gpt or system")
        rest = {key: value for key, value in fields.items() if key not in ("from", "value")}
        found.append({"role": role, "content": fields.get("value")} | rest)
    return found


def _answer(record: Record, column: str) -> str:
    """A text, or a list of one turn of the assistant's."""
    value = record.turns(column)
    if not isinstance(value, list):
        return record.text(column)
    *others, last = record.conversation(value, column, last="assistant")
    if others:
        raise record.error(f"{column} has {len(value)} turns: it must be a text or the assistant's turn alone")
    return last["content"]


def _pair(record: Record) -> dict[str, Any]:
    chosen, rejected = (_side(record, column) for column in ("chosen", "rejected"))
    for before, _ in (chosen, rejected):
        if before is None and not record.has("prompt"):
            raise record.error(
                "chosen and rejected need the column prompt beside them (data=hh_rlhf reads transcripts of 'Human:' "
                "and 'Assistant:')"
            )
    if chosen[0] != rejected[0]:
        raise LeftOut("chosen and rejected answer different prompts")
    prompt = {} if chosen[0] is None else {"prompt": _prompt(chosen[0])}
    return {"chosen": chosen[1], "rejected": rejected[1], **prompt}


def _side(record: Record, column: str) -> tuple[Messages | None, str]:
    """The turns before an answer where they stand beside it, and the answer."""
    value = record.turns(column)
    if isinstance(value, list) and len(value) > 1:
        return split_off(record, value, column)
    return None, _answer(record, column)
