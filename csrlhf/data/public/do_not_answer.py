"""Do-Not-Answer (Wang et al., arXiv 2308.13387): 939 questions that a model should not answer, and six models' answers.

Columns: ``question, risk_area, types_of_harm``, and ``<model>_response, <model>_harmful`` (0 or 1) for each model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.source import TableData, one_constraint
from csrlhf.types import DemonstrationRow, LabelledRow, Prompt

RESPONSE, HARMFUL = "_response", "_harmful"


class DoNotAnswer(TableData):
    """Prompts, all of them harmful, and labelled responses; the arguments are those of ``TableData``."""

    name = "do_not_answer"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "question",
        "demonstrations": "question, <model>_response, <model>_harmful",
        "labelled": "question, <model>_response, <model>_harmful",
    }

    def __init__(self, *locations: Any, **table: Any) -> None:
        super().__init__(*locations, **table)
        one_constraint(self)

    def prompt_of(self, record: Record) -> Prompt:
        return record.text("question")

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Harmful, with the set's words for the harm."""
        known = {"harm": "risk_area", "kind": "types_of_harm"}
        return prompt_meta(True, **{name: record.text(column) for name, column in known.items() if record.has(column)})

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """The harmless responses."""
        return [DemonstrationRow(row.prompt, row.response) for row in self.labelled_of(line) if not row.unsafe[0]]

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """Every model's response that has a label."""
        record = line.record
        models = [column.removesuffix(RESPONSE) for column in record.fields if str(column).endswith(RESPONSE)]
        return [
            LabelledRow(
                line.prompt,
                record.text(model + RESPONSE),
                (float(record.choice(model + HARMFUL)),),
                {"category": record.text("risk_area")} if record.has("risk_area") else {},
            )
            for model in models
            if record.has(model + HARMFUL)
        ]
