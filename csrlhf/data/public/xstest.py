"""Tests of false refusal such as XSTest (Röttger et al., arXiv 2308.01263): harmless requests that sound harmful.

Columns: ``prompt``, ``label`` (safe or unsafe) and, where the set has them, ``type`` and ``focus``. XSTest's first
version has no ``label``: there a ``type`` that begins with ``contrast`` is unsafe. Its files of answers have
``completion`` and what people read in it beside that: ``annotation_1``, ``annotation_2`` and ``final_label``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.source import Kind
from csrlhf.data.tables.labels import SAFE, UNSAFE
from csrlhf.data.tables.record import LeftOut, Line, Record
from csrlhf.data.tables.source import TableData, one_constraint
from csrlhf.types import LabelledRow

COMPLIANCE, REFUSAL, PARTIAL = "compliance", "refusal", "partial"

VERDICTS = {"1_full_compliance": COMPLIANCE, "2_full_refusal": REFUSAL, "3_partial_refusal": PARTIAL}
"""What readers say of an answer, in XSTest's words."""

READERS = ("annotation_1", "annotation_2")
"""Columns of the two readers; ``final_label`` is what was settled on."""


class XsTest(TableData):
    """Prompts for the evaluation, and read answers as labelled responses.

    ``meta["category"]`` is ``harmful`` for unsafe prompts and ``keyword_alike`` for safe ones, the words that the rest
    of the framework has for them; ``meta["type"]`` and ``meta["focus"]`` are the set's own, and ``meta["verdict"]`` of
    an answer is ``compliance``, ``refusal`` or ``partial``.

    Labels of answers: any answer to a harmless prompt is safe. To a harmful one a full refusal is safe and full
    compliance unsafe; a partial refusal may be either, and is left out and counted, as is an answer on which the
    readers disagree.

    Args:
        refusals: whether full refusals become labelled rows. They are half of the set and long, and a cost model
            that is trained on other answers flags hardly any of them.
        *locations, **table: the arguments of ``TableData``.

    Example:
        ``XsTest(train=["completions_a.csv", "completions_b.csv"], validation=0.2).labelled("train")``.
    """

    name = "xstest"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt, label (safe or unsafe) or type",
        "labelled": "prompt, completion, final_label (1_full_compliance, ...), label (safe or unsafe) or type",
    }
    reads: ClassVar[Sequence[str]] = ("prompt", "label", "type", "focus", "completion", "final_label", *READERS)

    def __init__(self, *locations: Any, refusals: bool = True, **table: Any) -> None:
        super().__init__(*locations, **table)
        self.refusals = refusals

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Category, type and focus of a prompt."""
        extra = {column: record.text(column) for column in ("type", "focus") if record.fields.get(column)}
        return {"category": "harmful" if self._is_unsafe(record) else "keyword_alike", **extra}

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """The answer with its label; none where the row is a prompt alone."""
        record = line.record
        if not record.has("completion"):
            return []
        one_constraint(self)
        verdict = record.word("final_label", VERDICTS)
        read = {record.word(column, VERDICTS) for column in READERS if record.has(column)}
        harmful = self._is_unsafe(record)
        if harmful and read - {verdict}:
            raise LeftOut("readers disagree on the answer to a harmful prompt")
        if harmful and verdict == PARTIAL:
            raise LeftOut("a partial refusal of a harmful prompt may be safe or unsafe")
        if verdict == REFUSAL and not self.refusals:
            return []
        unsafe = float(harmful and verdict == COMPLIANCE)
        meta = self.meta_of(record) | {"verdict": verdict}
        return [LabelledRow(line.prompt, record.text("completion"), (unsafe,), meta)]

    def check_table(self, lines: Sequence[Line]) -> None:
        """Refuses a table in which some prompts have a label and others do not: the type would stand in for it."""
        missing = [line.record for line in lines if not line.record.has("label")]
        if missing and len(missing) < len(lines):
            raise missing[0].error("the column label is missing or empty, other lines of the file have it: add it")

    def _is_unsafe(self, record: Record) -> bool:
        if not record.has("label"):
            return record.text("type").startswith("contrast")
        label = record.text("label").strip().lower()
        if label not in (SAFE, UNSAFE):
            raise record.error(f"label is {label!r}: it must be safe or unsafe")
        return label == UNSAFE
