"""Pairs of labelled responses for the pairwise cost loss (``cost.loss=pairwise``), from whatever a source offers.

A source that knows which response is safer (PKU-SafeRLHF's ``safer_response_id``, the toy world's oracle) has a method
``cost_pairs``. From any other source the labels make the pairs: an unsafe and a safe response to one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

from csrlhf.data.encoding import prompt_text
from csrlhf.data.source import DataSource, Split
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, LabelledRow


@runtime_checkable
class CostPairSource(Protocol):
    """A source with comparisons of its own."""

    def cost_pairs(self, split: Split) -> list[CostPairRow]:
        """The split's pairs; an empty list where it has none."""
        ...


def cost_pairs(source: DataSource, split: Split) -> list[CostPairRow]:
    """The pairs of a split: the source's own comparisons, else pairs made from its labels.

    Raises:
        UserError: there are none, and with them nothing to train on.
    """
    own = isinstance(source, CostPairSource)
    pairs = source.cost_pairs(split) if own else pairs_by_label(source.labelled(split))
    if not pairs:
        raise UserError(
            f"cost.loss=pairwise: the {split} split holds no pairs. It needs PKU-SafeRLHF's columns (response_0, "
            "response_1, is_response_0_safe, is_response_1_safe, safer_response_id), or prompts that have both a Safe "
            "and an Unsafe response; cost.loss=semantic learns from single labels"
        )
    return pairs


def pairs_by_label(rows: Sequence[LabelledRow]) -> list[CostPairRow]:
    """All pairs of responses to one prompt whose labels differ in some constraint, in the rows' order.

    Equal responses that annotators judged differently are no pair: none of the two is the more harmful.
    """
    by_prompt: dict[str, list[LabelledRow]] = {}
    for row in rows:
        by_prompt.setdefault(prompt_text(row.prompt), []).append(row)
    return [
        pair_by_label(first, second)
        for answers in by_prompt.values()
        for first, second in combinations(answers, 2)
        if first.unsafe != second.unsafe and not same_text(first.response, second.response)
    ]


def pair_by_label(first: LabelledRow, second: LabelledRow) -> CostPairRow:
    """A pair ordered by its labels alone: an unsafe response is more harmful than a safe one, else nobody knows."""
    return CostPairRow(first, second, tuple(a - b for a, b in zip(first.unsafe, second.unsafe, strict=True)))


def same_text(first: str, second: str) -> bool:
    """Whether two responses say the same; blanks around them do not count."""
    return first.strip() == second.strip()
