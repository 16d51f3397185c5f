"""WildGuardMix (Han et al., arXiv 2406.18495): prompts and responses, each labelled harmful or unharmful.

Columns: ``prompt, adversarial, response, prompt_harm_label, response_harm_label, response_refusal_label, subcategory``.
About half of the training rows are prompts alone; a label may be missing where annotators did not agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import LeftOut, Line, Record
from csrlhf.data.tables.source import TableData, one_constraint
from csrlhf.types import DemonstrationRow, LabelledRow

WORDS = {"harmful": True, "unharmful": False}


class WildGuardMix(TableData):
    """Labelled responses, the unharmful ones as demonstrations, and prompts; the arguments are those of ``TableData``.

    ``meta`` of a prompt says whether it is harmful, its kind of harm, and ``attack``: ``adversarial`` or ``plain``.
    """

    name = "wildguardmix"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt, prompt_harm_label",
        "demonstrations": "prompt, response, response_harm_label",
        "labelled": "prompt, response, response_harm_label",
    }
    reads: ClassVar[Sequence[str]] = (
        "prompt", "response", "prompt_harm_label", "response_harm_label", "adversarial", "subcategory",
    )  # fmt: skip

    def __init__(self, *locations: Any, **table: Any) -> None:
        super().__init__(*locations, **table)
        one_constraint(self)

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Raises LeftOut for a prompt whose harm annotators did not agree on."""
        if not record.has("prompt_harm_label"):
            raise LeftOut("nobody says whether the prompt is harmful (prompt_harm_label is empty)")
        attack = None
        if record.has("adversarial"):
            attack = "adversarial" if record.flag("adversarial") else "plain"
        harm = record.text("subcategory") if record.has("subcategory") else None
        return prompt_meta(_is_harmful(record, "prompt_harm_label"), harm=harm, attack=attack)

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """The unharmful responses, refusals among them."""
        rows = self.labelled_of(line)
        return [DemonstrationRow(row.prompt, row.response) for row in rows if not row.unsafe[0]]

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """The response; none where the row is a prompt alone."""
        record = line.record
        if not record.has("response"):
            return []
        if not record.has("response_harm_label"):
            raise LeftOut("nobody says whether the response is harmful (response_harm_label is empty)")
        label = float(_is_harmful(record, "response_harm_label"))
        meta = {"category": record.text("subcategory")} if record.has("subcategory") else {}
        return [LabelledRow(line.prompt, record.text("response"), (label,), meta)]


def _is_harmful(record: Record, column: str) -> bool:
    return record.word(column, WORDS)
