"""UltraFeedback, binarised (Cui et al., arXiv 2310.01377; the columns of ``HuggingFaceH4/ultrafeedback_binarized``).

Columns: ``chosen, rejected``, lists of turns (``role``, ``content``) that end with the assistant's response;
``score_chosen, score_rejected`` where the set has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.pairs import same_text
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import LeftOut, Line, Record, as_prompt
from csrlhf.data.tables.source import TableData
from csrlhf.types import DemonstrationRow, PreferenceRow, Prompt


class UltraFeedback(TableData):
    """Preferences, and the chosen responses as demonstrations; arguments as of ``TableData``."""

    name = "ultrafeedback"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "chosen",
        "demonstrations": "chosen",
        "preferences": "chosen, rejected",
    }
    reads: ClassVar[Sequence[str]] = ("chosen", "rejected", "score_chosen", "score_rejected")

    def __init__(self, *locations: Any, bad_rows: str = "skip", **table: Any) -> None:
        super().__init__(*locations, bad_rows=bad_rows, **table)  # some of its responses are empty

    def prompt_of(self, record: Record) -> Prompt:
        """The turns before the chosen response; a single one is a text."""
        turns = record.conversation(list(record.messages("chosen", last="assistant")[:-1]), "the prompt", last="user")
        return as_prompt(turns)

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        return [DemonstrationRow(line.prompt, line.record.messages("chosen", last="assistant")[-1]["content"])]

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        """The pair; left out where it says nothing: a tie, scores against the order, another prompt."""
        record = line.record
        chosen, rejected = (record.messages(column, last="assistant") for column in ("chosen", "rejected"))
        if chosen[:-1] != rejected[:-1]:
            raise LeftOut("chosen and rejected answer different prompts")
        if same_text(chosen[-1]["content"], rejected[-1]["content"]):
            raise LeftOut("chosen and rejected are the same")
        if record.has("score_chosen") or record.has("score_rejected"):
            difference = record.number("score_chosen") - record.number("score_rejected")
            if difference <= 0:
                raise LeftOut("a tie in the scores" if difference == 0 else "rejected has the higher score")
        return [PreferenceRow(line.prompt, chosen[-1]["content"], rejected[-1]["content"])]
