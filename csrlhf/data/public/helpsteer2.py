"""HelpSteer2 (Wang et al., arXiv 2406.08673): two responses to each prompt, rated from 0 to 4 in five attributes.

Columns: ``prompt, response, helpfulness, correctness, coherence, complexity, verbosity``, a row for each response; or,
in the folder ``preference`` (arXiv 2410.01257), ``prompt, response_1, response_2, preference_strength`` from -3 (the
first is much better) to 3. Later turns of a prompt stand behind ``<extra_id_1>Assistant`` and ``<extra_id_1>User``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.encoding import prompt_text
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import LeftOut, Line, Record
from csrlhf.data.tables.source import TableData
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, PreferenceRow, Prompt

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
TURN = re.compile(r"\s*<extra_id_1>(User|Assistant)\n")
GOOD = 3
"""The least rating in helpfulness, of 4, of a response to imitate."""


class HelpSteer2(TableData):
    """Preferences, and the responses that are rated well as demonstrations.

    Args:
        attribute: whose rating orders the two responses of a prompt; the folder ``preference`` has an order of its own.
        *locations, **table: the arguments of ``TableData``.

    Raises:
        UserError: ``attribute`` is none of the set's.
    """

    name = "helpsteer2"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt",
        "demonstrations": "prompt, response, helpfulness",
        "preferences": "prompt, response, helpfulness (two rows for a prompt), or prompt, response_1, response_2, "
        "preference_strength",
    }
    reads: ClassVar[Sequence[str]] = (
        "prompt", "response", *ATTRIBUTES, "response_1", "response_2", "preference_strength",
    )  # fmt: skip

    def __init__(self, *locations: Any, attribute: str = "helpfulness", **table: Any) -> None:
        super().__init__(*locations, **table)
        if attribute not in ATTRIBUTES:
            raise UserError(f"data.attribute={attribute}: must be one of {', '.join(ATTRIBUTES)}")
        self._attribute = attribute
        self._pairs: dict[str, Record] = {}

    def prompt_of(self, record: Record) -> Prompt:
        """The turns of the user and of the assistant before the response."""
        parts = TURN.split(record.text("prompt"))
        if len(parts) == 1:
            return parts[0]
        speakers = ["user", *("user" if part == "User" else "assistant" for part in parts[1::2])]
        turns = [{"role": role, "content": said.strip()} for role, said in zip(speakers, parts[::2], strict=True)]
        return record.conversation(turns, "prompt", last="user")

    def check_table(self, lines: Sequence[Line]) -> None:
        """Finds the second response to each prompt: of rows with one prompt, each two that follow each other."""
        waiting: dict[str, Record] = {}
        for line in lines:
            if line.record.has("response"):
                first = waiting.pop(text := prompt_text(line.prompt), None)
                if first is None:
                    waiting[text] = line.record
                else:
                    self._pairs[first.place] = line.record

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        record = line.record
        if not record.has("response") or record.number("helpfulness") < GOOD:
            return []
        return [DemonstrationRow(line.prompt, record.text("response"))]

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        """The pair that begins in this row; left out where neither response is the better one."""
        record = line.record
        if record.has("preference_strength"):
            first, second = record.text("response_1"), record.text("response_2")
            better = record.number("preference_strength")
        elif record.place in self._pairs:
            other = self._pairs[record.place]
            first, second = record.text("response"), other.text("response")
            better = other.number(self._attribute) - record.number(self._attribute)
        else:
            return []
        if better == 0:
            raise LeftOut("a tie: neither response is the better one")
        chosen, rejected = (second, first) if better > 0 else (first, second)
        return [PreferenceRow(line.prompt, chosen, rejected)]
