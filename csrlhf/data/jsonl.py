"""One's own data: JSON Lines, CSV, Parquet or a ``datasets`` folder; the columns say what a row is good for.

| columns | serves |
|---|---|
| ``prompt`` | prompts |
| ``prompt, response`` | + demonstrations |
| ``prompt, response, label`` (or ``is_safe``) | + labelled rows; a label on all or none; only Safe ones are imitated |
| PKU-SafeRLHF's ``prompt, response_0, response_1, better_response_id``; or ``prompt, chosen, rejected`` | preferences |
| ``category`` beside any of these | slices of reports: the kind of harm, say |
| ``harmful`` beside any of these | whether the prompt is harmful |
| ``margin`` beside pairs | by how much the better one is better, for the reward model |
| PKU-SafeRLHF's ``is_response_0_safe, is_response_1_safe`` | labelled rows, two per line |
| its ``safer_response_id`` beside these labels | pairs for ``cost.loss=pairwise`` |

With several constraints, ``label`` is an object such as ``{"harm": "Unsafe", "privacy": "Safe"}``. Conversations as
``messages`` or ``conversations``, and ``prompt, completion``, are read as well (``tables/layouts.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import Harmless
from csrlhf.data.pairs import labelled_pair, ordered_pair, pair_margin
from csrlhf.data.source import Kind
from csrlhf.data.tables.labels import LabelWords, word
from csrlhf.data.tables.layouts import standard
from csrlhf.data.tables.record import LeftOut, Line, Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow

NO_RESPONSE = "response is missing or empty, other lines of the file have one"


class JsonlData(TableData):
    """Rows from files with our own columns, one file per split.

    Args:
        labels: what values of the column ``label`` mean, where it is not Safe and Unsafe: lists for ``unsafe`` and
            ``safe``, and ``skip`` for rows to leave out.
        harmless: which prompts are harmless: True for all, False for none, or a list of categories; None: the column
            ``harmful`` and the category say so, or nobody does.
        *locations, **table: the arguments of ``TableData``.

    Example:
        ``JsonlData(train="train.jsonl", validation=0.1).labelled("train")``.
    """

    name = "jsonl"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt",
        "demonstrations": "prompt, response",
        "preferences": "prompt, response_0, response_1, better_response_id, or prompt, chosen, rejected",
        "labelled": "prompt, response, label (Safe or Unsafe) or is_safe",
    }
    reads: ClassVar[Sequence[str]] = (
        "prompt", "response", "label", "is_safe", "category", "harmful", "margin", "messages", "conversations",
        "completion", "chosen", "rejected", "response_0", "response_1", "better_response_id", "safer_response_id",
        "is_response_0_safe", "is_response_1_safe",
    )  # fmt: skip

    def __init__(
        self,
        *locations: Any,
        labels: Mapping[str, Any] | None = None,
        harmless: bool | Sequence[str] | None = None,
        **table: Any,
    ) -> None:
        super().__init__(*locations, **table)
        self._words, self._harmless = LabelWords(labels), Harmless(harmless)
        self._unanswered: set[str] = set()
        self._undecided: set[str] = set()

    def adapted(self, record: Record) -> Record:
        """Conversations as prompt and response, pairs as texts."""
        return standard(record)

    def meta_of(self, record: Record) -> dict[str, Any]:
        """The category that reports slice by, and ``harmful``: a constraint may be about some of them."""
        category, harmful = record.fields.get("category"), record.fields.get("harmful")
        # anything but a word is somebody's own column
        found: dict[str, Any] = {"category": category} if isinstance(category, str) and category.strip() else {}
        if isinstance(harmful, bool | int | str) and harmful != "":
            found["harmful"] = harmful
        return self._harmless.told(record, found)

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """All responses of a table without labels, the Safe ones of a labelled table."""
        record = line.record
        if record.place in self._unanswered:
            raise LeftOut(NO_RESPONSE)
        if not record.has("response") or (self._is_labelled(record) and any(self._labels(record))):
            return []
        return [DemonstrationRow(line.prompt, record.text("response"))]

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        record = line.record
        if record.has("chosen") or record.has("rejected"):
            chosen, rejected = record.text("chosen"), record.text("rejected")
            return [PreferenceRow(line.prompt, chosen, rejected, pair_margin(record))]
        if record.place in self._undecided:
            raise LeftOut("better_response_id is missing or empty, other lines of the file have one")
        if not record.has("better_response_id"):
            return []
        return [ordered_pair(record, line.prompt, "better_response_id", pair_margin(record))]

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        record = line.record
        if self._is_labelled(record):
            return [LabelledRow(line.prompt, record.text("response"), self._labels(record), self.meta_of(record))]
        if not record.has("is_response_0_safe"):
            return []
        if len(self.constraints) > 1:
            raise record.error("is_response_0_safe is one label, data.constraints names several: set one constraint")
        return labelled_pair(record, line.prompt)

    def check_table(self, lines: Sequence[Line]) -> None:
        """Refuses a table in which some responses are labelled and others are not; notes lines with other gaps.

        A forgotten label would drop the row from the cost model's data, and make an Unsafe response one to imitate.
        """
        for response, labels in (("response", ("label", "is_safe")), ("response_0", ("is_response_0_safe",))):
            with_response = [line.record for line in lines if line.record.has(response)]
            missing = [record for record in with_response if not any(map(record.has, labels))]
            known = next((name for name in labels for line in lines if line.record.has(name)), None)
            if missing and known is not None:
                raise missing[0].error(f"the column {known} is missing, other lines of the file have it: add it")
        if any(line.record.has("response") for line in lines):
            others = ("response", "response_0", "chosen")
            silent = [line.record for line in lines if not any(map(line.record.has, others))]
            self._unanswered |= {record.place for record in silent}
        pairs = [line.record for line in lines if line.record.has("response_0")]
        if any(record.has("better_response_id") for record in pairs):
            self._undecided |= {record.place for record in pairs if not record.has("better_response_id")}

    def _is_labelled(self, record: Record) -> bool:
        return record.has("label") or record.has("is_safe")

    def _labels(self, record: Record) -> tuple[float, ...]:
        """1.0 for Unsafe, by constraint: of the column ``label``, else of ``is_safe``, whose polarity is its name."""
        if record.has("label"):
            return record.labels(self.constraints, self._words)
        if len(self.constraints) > 1:
            raise record.error("is_safe is one label, data.constraints names several: set one constraint")
        safe = {"true": True, "1": True, "false": False, "0": False}.get(word(record.value("is_safe")))
        return (float(not (record.flag("is_safe") if safe is None else safe)),)
