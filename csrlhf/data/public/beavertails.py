"""BeaverTails (Ji et al., arXiv 2307.04657): responses labelled safe or not, and in which of 14 categories.

Columns: ``prompt, response, is_safe, category``, the last an object of 14 names with true or false. How such categories
become constraints is here as well, for the data sets of the same authors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import DemonstrationRow, LabelledRow

# Constraints of data sets that mark harm categories: ``harm`` is any of them, other names are single categories.

ANY = "harm"
"""The constraint that every marked category, and the overall label, counts for."""


def short_name(category: str) -> str:
    """A category as a word that can stand in a key: ``Privacy Violation`` -> ``privacy_violation``.

    Of a list, the first: ``drug_abuse,weapons,banned_substance`` -> ``drug_abuse``.
    """
    return re.sub(r"\W+", "_", category.split(",")[0].strip().lower())


def harm_labels(
    record: Record, constraints: Sequence[str], unsafe: bool, categories: Mapping[str, bool] | None
) -> tuple[float, ...]:
    """1.0 where a response violates a constraint.

    Args:
        record: for messages.
        constraints: ``harm`` or short names of categories.
        unsafe: the overall label.
        categories: by the data set's names; None where the row has none, enough for ``harm`` alone.

    Raises:
        RowError: a constraint is no category, or the categories contradict the overall label.
    """
    named = {short_name(category): marked for category, marked in (categories or {}).items()}
    if not unsafe and any(named.values()):
        marked = next(name for name, flag in named.items() if flag)
        raise record.error(f"the response is labelled safe, and the category {marked} is true: correct one of them")
    missing = [name for name in constraints if name != ANY and name not in named]
    if missing:
        raise record.error(
            f"data.constraints names {missing[0]}, which is no category here: use {ANY} (any of them) or "
            f"{', '.join(named) or 'nothing else: the row has no categories'}"
        )
    return tuple(float(unsafe if name == ANY else named[name]) for name in constraints)


def first_category(unsafe: bool, categories: Mapping[str, bool] | None) -> str:
    """A response's category for reports: the first marked one, ``safe``, or ``unsafe`` where none is marked."""
    marked = [short_name(category) for category, flag in (categories or {}).items() if flag]
    return marked[0] if marked else "unsafe" if unsafe else "safe"


class BeaverTails(TableData):
    """Labelled responses; the arguments are those of ``TableData``.

    A constraint is ``harm`` (``is_safe`` is false) or a category by its first words: ``privacy_violation``,
    ``drug_abuse``, ... Several make a cost model of several outputs.
    """

    name = "beavertails"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "prompt",
        "demonstrations": "prompt, response, is_safe",
        "labelled": "prompt, response, is_safe, category",
    }
    reads: ClassVar[Sequence[str]] = ("prompt", "response", "is_safe", "category")

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        """The safe responses."""
        record = line.record
        return [DemonstrationRow(line.prompt, record.text("response"))] if record.flag("is_safe") else []

    def labelled_of(self, line: Line) -> list[LabelledRow]:
        """The response with its labels; the category for reports in ``meta``."""
        record, unsafe = line.record, not line.record.flag("is_safe")
        categories = record.flags("category")
        labels = harm_labels(record, self.constraints, unsafe, categories)
        return [
            LabelledRow(line.prompt, record.text("response"), labels, {"category": first_category(unsafe, categories)})
        ]
