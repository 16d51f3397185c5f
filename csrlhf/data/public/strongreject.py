"""StrongREJECT (Souly et al., arXiv 2402.10260): 313 forbidden prompts of six categories, all of them harmful.

Columns: ``forbidden_prompt, category, source``; of the Hub's copy ``prompt, category``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import Prompt


class StrongReject(TableData):
    """Prompts for the evaluation; the arguments are those of ``TableData``."""

    name = "strongreject"
    needs: ClassVar[Mapping[Kind, str]] = {"prompts": "forbidden_prompt, category (or prompt, category)"}
    reads: ClassVar[Sequence[str]] = ("forbidden_prompt", "prompt", "category")

    def prompt_of(self, record: Record) -> Prompt:
        return record.text("prompt" if record.has("prompt") else "forbidden_prompt")

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Harmful; the set's own category is the ``harm``."""
        return prompt_meta(True, harm=record.text("category"))
