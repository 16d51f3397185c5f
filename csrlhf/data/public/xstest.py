"""Tests of false refusal such as XSTest (Röttger et al., arXiv 2308.01263): harmless requests that sound harmful.

Columns: ``prompt``, ``label`` (safe or unsafe) and, where the set has them, ``type`` and ``focus``. XSTest's first
version has no ``label``: there a ``type`` that begins with ``contrast`` is unsafe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.source import Kind
from csrlhf.data.tables.labels import SAFE, UNSAFE
from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.source import TableData


class XsTest(TableData):
    """Prompts for the evaluation; the arguments are those of ``TableData``.

    ``meta["category"]`` is ``harmful`` for unsafe prompts and ``keyword_alike`` for safe ones, the words that the rest
    of the framework has for them; ``meta["type"]`` and ``meta["focus"]`` are the set's own.
    """

    name = "xstest"
    needs: ClassVar[Mapping[Kind, str]] = {"prompts": "prompt, label (safe or unsafe) or type"}
    reads: ClassVar[Sequence[str]] = ("prompt", "label", "type", "focus")

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Category, type and focus of a prompt."""
        extra = {column: record.text(column) for column in ("type", "focus") if record.fields.get(column)}
        return {"category": "harmful" if self._is_unsafe(record) else "keyword_alike", **extra}

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
