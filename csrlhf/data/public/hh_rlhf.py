r"""Anthropic's hh-rlhf (Bai et al., arXiv 2204.05862): two transcripts of a conversation, one preferred.

Columns: ``chosen, rejected``, texts such as ``\n\nHuman: hi\n\nAssistant: hello\n\nHuman: a joke?\n\nAssistant: no.``.
The last turn is the response, the turns before it are the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.source import Kind
from csrlhf.data.tables.record import LeftOut, Line, Record, as_prompt
from csrlhf.data.tables.source import TableData
from csrlhf.types import DemonstrationRow, Messages, PreferenceRow, Prompt

SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def parse_transcript(record: Record, column: str) -> tuple[Messages, str]:
    """The turns before the last one, and the last one, which must be the assistant's.

    Turns of one speaker in a row, which chat templates refuse, become one.

    Raises:
        RowError: the text is no transcript, or a turn is empty.
    """
    parts = re.split(r"(?:^|\n\n)(Human|Assistant):", record.text(column))
    if parts[0].strip() or len(parts) < 5 or parts[-2] != "Assistant" or parts[1] != "Human":
        raise record.error(
            rf"{column} must be a transcript that begins with '\n\nHuman:' and ends with an '\n\nAssistant:' turn"
        )
    turns: list[dict[str, str]] = []
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        role, content = SPEAKERS[speaker], record.checked_text(said, f"a turn of {column}").strip()
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
    return tuple(turns[:-1]), turns[-1]["content"]


class HhRlhf(TableData):
    """Preferences, and the chosen responses as demonstrations; arguments as of ``TableData``."""

    name = "hh_rlhf"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "chosen",
        "demonstrations": "chosen",
        "preferences": "chosen, rejected",
    }
    reads: ClassVar[Sequence[str]] = ("chosen", "rejected")

    def __init__(self, *locations: Any, bad_rows: str = "skip", **table: Any) -> None:
        super().__init__(*locations, bad_rows=bad_rows, **table)  # some of its transcripts end with an empty turn

    def prompt_of(self, record: Record) -> Prompt:
        """The conversation before the chosen response; a single turn is a text."""
        turns, _ = parse_transcript(record, "chosen")
        return as_prompt(turns)

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        return [DemonstrationRow(line.prompt, parse_transcript(line.record, "chosen")[1])]

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        """The pair; left out where the conversations differ before the last turn, or the responses do not differ."""
        (before, chosen), (other, rejected) = (parse_transcript(line.record, name) for name in ("chosen", "rejected"))
        if before != other:
            raise LeftOut("chosen and rejected answer different conversations")
        if chosen == rejected:
            raise LeftOut("chosen and rejected are the same")
        return [PreferenceRow(line.prompt, chosen, rejected)]
