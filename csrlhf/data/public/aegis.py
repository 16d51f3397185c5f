"""Aegis AI Content Safety Dataset 2.0 (Ghosh et al., arXiv 2501.09004): prompts and responses labelled safe or unsafe.

Columns: ``prompt, response, prompt_label, response_label, violated_categories``. Some prompts are of others' sets and
come as ``REDACTED``; many rows are prompts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.public.beavertails import short_name
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import LeftOut, Line, Record
from csrlhf.data.tables.source import TableData, one_constraint
from csrlhf.types import DemonstrationRow, LabelledRow, Prompt

WORDS = {"unsafe": True, "safe": False}
REDACTED = "REDACTED"


class Aegis(TableData):
    """Labelled responses, the safe ones as demonstrations, and prompts; the arguments are those of ``TableData``.

    The categories are of prompt and response together, so ``harm`` is the one constraint; reports slice by the first.
    """

    name = "aegis"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt, prompt_label",
        "demonstrations": "prompt, response, response_label",
        "labelled": "prompt, response, response_label",
    }
    reads: ClassVar[Sequence[str]] = ("prompt", "response", "prompt_label", "response_label", "violated_categories")

    def __init__(self, *locations: Any, **table: Any) -> None:
        super().__init__(*locations, **table)
        one_constraint(self)

    def prompt_of(self, record: Record) -> Prompt:
        """Raises LeftOut for a prompt that the set does not hold itself."""
        if record.value("prompt") == REDACTED:
            raise LeftOut("the prompt is REDACTED: it stands in another data set (reconstruction_id_if_redacted)")
        return record.prompt()

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Whether the prompt is harmful, and the first category that it violates."""
        return prompt_meta(record.word("prompt_label", WORDS), harm=_first_category(record))

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """The safe responses."""
        return [DemonstrationRow(row.prompt, row.response) for row in self.labelled_of(line) if not row.unsafe[0]]

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """The response; none where the row is a prompt alone."""
        record = line.record
        if not record.has("response") or record.value("response") == "":  # the set writes both
            return []
        unsafe = record.word("response_label", WORDS)
        category = (_first_category(record) or "unsafe") if unsafe else "safe"
        return [LabelledRow(line.prompt, record.text("response"), (float(unsafe),), {"category": category})]


def _first_category(record: Record) -> str | None:
    given = record.fields.get("violated_categories")
    return short_name(given) if isinstance(given, str) and given.strip() else None
