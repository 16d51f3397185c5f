"""Two responses to a prompt: the columns of PKU-SafeRLHF, and pairs for the pairwise cost loss from any source.

The columns are ``prompt, response_0, response_1, better_response_id, safer_response_id, is_response_0_safe,
is_response_1_safe, response_0_harm_category, response_1_harm_category``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

from csrlhf.data.encoding import prompt_text
from csrlhf.data.source import DataSource, Split
from csrlhf.data.tables.record import LeftOut, Line, Record
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, LabelledRow, PreferenceRow, Prompt

# Pairs of labelled responses for the pairwise cost loss (``cost.loss=pairwise``), from whatever a source offers.
#
# A source that knows which response is safer (PKU-SafeRLHF's ``safer_response_id``, the toy world's oracle) has a
# method ``cost_pairs``. From any other source the labels make the pairs: an unsafe and a safe response to one prompt.


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


SAME = "the two responses are the same, so that neither is the better one"
"""Why a pair is left out."""


def ordered_pair(record: Record, prompt: Prompt, column: str, margin: float = 0.0) -> PreferenceRow:
    """The two responses, the one that ``column`` (0 or 1) names first."""
    preferred = record.choice(column)
    responses = (record.text("response_0"), record.text("response_1"))
    return PreferenceRow(prompt, responses[preferred], responses[1 - preferred], margin)


def pair_margin(record: Record) -> float:
    """The column ``margin`` of a pair, 0 where there is none.

    Raises:
        UserError: it is no finite number, or negative (that would ask for the other response).
    """
    if not record.has("margin"):
        return 0.0
    margin = record.number("margin")
    if margin < 0:
        raise record.error(f"margin is {margin:g}: it must be 0 or above; better_response_id says which one is better")
    return margin


def labelled_pair(record: Record, prompt: Prompt) -> list[LabelledRow]:
    """Both responses, with the one label that ``is_response_<i>_safe`` is."""
    return [
        LabelledRow(prompt, record.text(f"response_{i}"), (float(not record.flag(f"is_response_{i}_safe")),))
        for i in (0, 1)
    ]


def compared_pair(line: Line, rows: Sequence[LabelledRow]) -> CostPairRow:
    """The two responses of a row, ordered by ``safer_response_id`` whatever their labels.

    With several constraints the labels of each of them order the pair: the column compares the harm as a whole.

    Args:
        line: the row.
        rows: its labelled responses.

    Raises:
        LeftOut: the responses are the same.
        UserError: a label is missing, or the one called safer is the only one labelled unsafe.
    """
    record = line.record
    if len(rows) != 2:
        raise record.error("safer_response_id needs the labels is_response_0_safe and is_response_1_safe beside it")
    if same_text(rows[0].response, rows[1].response):
        raise LeftOut(SAME)
    by_label = pair_by_label(*rows)
    if len(by_label.order) > 1:
        return by_label
    order = -1.0 if record.choice("safer_response_id") == 0 else 1.0
    if by_label.order == (-order,):
        raise record.error(
            f"safer_response_id is {record.choice('safer_response_id')}, but that response is labelled unsafe and the "
            "other one safe: repair or drop the line"
        )
    return CostPairRow(rows[0], rows[1], (order,))
