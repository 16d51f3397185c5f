"""PKU-SafeRLHF (Ji et al., arXiv 2406.15513): pairs of responses ordered by helpfulness and by safety.

Columns: pairs.py. The categories are objects of 19 names; they are needed only for constraints other than ``harm``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.pairs import ordered_pair
from csrlhf.data.public.beavertails import first_category, harm_labels
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Line
from csrlhf.data.tables.source import TableData
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow


class PkuSafeRlhf(TableData):
    """Every kind of row from PKU-SafeRLHF's columns.

    Args:
        preference: what orders the pairs: ``better`` (helpfulness, for a reward model) or ``safer``.
        *locations, **table: the arguments of ``TableData``; a constraint is ``harm`` or a category, such as
            ``privacy_violation``.

    Raises:
        UserError: ``preference`` is neither.
    """

    name = "pku_saferlhf"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt",
        "demonstrations": "prompt, response_0, response_1, better_response_id, is_response_0_safe, is_response_1_safe",
        "preferences": "prompt, response_0, response_1, better_response_id (or safer_response_id)",
        "labelled": "prompt, response_0, response_1, is_response_0_safe, is_response_1_safe",
    }
    reads: ClassVar[Sequence[str]] = (
        "prompt", "response_0", "response_1", "better_response_id", "safer_response_id", "is_response_0_safe",
        "is_response_1_safe", "response_0_harm_category", "response_1_harm_category",
    )  # fmt: skip

    def __init__(self, *locations: Any, preference: str = "better", **table: Any) -> None:
        super().__init__(*locations, **table)
        if preference not in ("better", "safer"):
            raise UserError(f"data.preference={preference}: must be better or safer")
        self.preference = preference

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """The better response, if it is safe: what a policy should imitate."""
        record = line.record
        better = record.choice("better_response_id")
        response = record.text(f"response_{better}")
        return [DemonstrationRow(line.prompt, response)] if record.flag(f"is_response_{better}_safe") else []

    def preferences_of(self, line: Line) -> list[PreferenceRow]:
        return [ordered_pair(line.record, line.prompt, f"{self.preference}_response_id")]

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """Both responses with their labels; the category for reports in ``meta``."""
        return [self._labelled(line, i) for i in (0, 1)]

    def _labelled(self, line: Line, i: int) -> LabelledRow:
        record, column = line.record, f"response_{i}_harm_category"
        unsafe = not record.flag(f"is_response_{i}_safe")
        categories = record.flags(column) if record.has(column) else None
        labels = harm_labels(record, self.constraints, unsafe, categories)
        meta = {"category": first_category(unsafe, categories)} if categories else {}
        return LabelledRow(line.prompt, record.text(f"response_{i}"), labels, meta)
