"""One's own data: JSON Lines, CSV, Parquet or a ``datasets`` folder; the columns say what a row is good for.

| columns | serves |
|---|---|
| ``prompt`` | prompts |
| ``prompt, response`` | + demonstrations |
| ``prompt, response, label`` | + labelled rows; only Safe rows are demonstrations; a label on all responses or none |
| PKU-SafeRLHF's ``prompt, response_0, response_1, better_response_id`` | preferences |
| ``category`` beside any of these | slices of reports: the kind of harm, say |
| ``margin`` beside these | by how much the better one is better, for the reward model |
| PKU-SafeRLHF's ``is_response_0_safe, is_response_1_safe`` | labelled rows, two per line |
| its ``safer_response_id`` beside these labels | pairs for ``cost.loss=pairwise`` |

With several constraints, ``label`` is an object such as ``{"harm": "Unsafe", "privacy": "Safe"}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.pairs import labelled_pair, ordered_pair, pair_margin
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow


class JsonlData(TableData):
    """Rows from files with our own columns, one file per split; the arguments are those of ``TableData``.

    Example:
        ``JsonlData(train="train.jsonl", validation=0.1).labelled("train")``.
    """

    name = "jsonl"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt",
        "demonstrations": "prompt, response",
        "preferences": "prompt, response_0, response_1, better_response_id",
        "labelled": "prompt, response, label (Safe or Unsafe)",
    }

    def meta_of(self, record: Record) -> dict[str, Any]:
        """The category that reports slice by, and ``harmful``: a constraint may be about some of them."""
        category, harmful = record.fields.get("category"), record.fields.get("harmful")
        # anything but a word is somebody's own column
        found: dict[str, Any] = {"category": category} if isinstance(category, str) and category.strip() else {}
        return found | ({"harmful": harmful} if isinstance(harmful, bool | int | str) and harmful != "" else {})

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """All responses of a table without labels, the Safe ones of a labelled table."""
        record = line.record
        if not record.has("response") or (record.has("label") and any(record.labels(self.constraints))):
            return []
        return [DemonstrationRow(line.prompt, record.text("response"))]

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        if not line.record.has("better_response_id"):
            return []
        return [ordered_pair(line.record, line.prompt, "better_response_id", pair_margin(line.record))]

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        record = line.record
        if record.has("label"):
            return [
                LabelledRow(line.prompt, record.text("response"), record.labels(self.constraints), self.meta_of(record))
            ]
        if not record.has("is_response_0_safe"):
            return []
        if len(self.constraints) > 1:
            raise record.error("is_response_0_safe is one label, data.constraints names several: set one constraint")
        return labelled_pair(record, line.prompt)

    def check_table(self, lines: Sequence[Line]) -> None:
        """Refuses a table in which some responses are labelled and others are not.

        A forgotten label would drop the row from the cost model's data, and make an Unsafe response one to imitate.
        """
        for response, label in (("response", "label"), ("response_0", "is_response_0_safe")):
            with_response = [line.record for line in lines if line.record.has(response)]
            missing = [record for record in with_response if not record.has(label)]
            if missing and any(line.record.has(label) for line in lines):
                raise missing[0].error(f"the column {label} is missing, other lines of the file have it: add it")
