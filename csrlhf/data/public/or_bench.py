"""OR-Bench (Cui et al., arXiv 2405.20947): prompts that sound harmful, with the harm that they sound like.

Columns: ``prompt, category``. The categories name harms in all of its parts: ``or-bench-80k`` and ``or-bench-hard-1k``
are harmless, ``or-bench-toxic`` is not. A file does not say which of them it is, so the config has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Record
from csrlhf.data.tables.source import TableData
from csrlhf.errors import UserError


class OrBench(TableData):
    """Prompts for the evaluation.

    Args:
        harmless: whether the prompts are harmless: True for ``or-bench-80k`` and ``or-bench-hard-1k``, False for
            ``or-bench-toxic``.
        *locations, **table: the arguments of ``TableData``.

    Raises:
        UserError: ``harmless`` is not set.
    """

    name = "or_bench"
    needs: ClassVar[Mapping[Kind, str]] = {"prompts": "prompt, category"}
    reads: ClassVar[Sequence[str]] = ("prompt", "category")

    def __init__(self, *locations: Any, harmless: bool | None = None, **table: Any) -> None:
        super().__init__(*locations, **table)
        if not isinstance(harmless, bool):
            raise UserError(
                f"data.harmless={'null' if harmless is None else harmless}: OR-Bench's categories name harms, whether "
                "its prompts are harmful or not; set data.harmless=true for or-bench-80k and or-bench-hard-1k, or "
                "data.harmless=false for or-bench-toxic"
            )
        self._harmless = harmless

    def meta_of(self, record: Record) -> dict[str, Any]:
        """``keyword_alike`` or ``harmful``; the set's own category is the ``harm``."""
        return prompt_meta(not self._harmless, harmless_word="keyword_alike", harm=record.text("category"))
