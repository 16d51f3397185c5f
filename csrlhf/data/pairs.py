"""The columns of PKU-SafeRLHF: two responses to a prompt, which is better, which is safer, and whether each is safe.

``prompt, response_0, response_1, better_response_id, safer_response_id, is_response_0_safe, is_response_1_safe,
response_0_harm_category, response_1_harm_category``
"""

from __future__ import annotations

from collections.abc import Sequence

from csrlhf.data.cost_pairs import pair_by_label, same_text
from csrlhf.data.tables.record import Line, Record
from csrlhf.types import CostPairRow, LabelledRow, PreferenceRow, Prompt

SAME = "the two responses are the same, so that neither is the better one: drop the line, or set data.bad_rows=skip"


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
        UserError: a label is missing, the responses are the same, or the one called safer is the only one labelled
            unsafe.
    """
    record = line.record
    if len(rows) != 2:
        raise record.error("safer_response_id needs the labels is_response_0_safe and is_response_1_safe beside it")
    if same_text(rows[0].response, rows[1].response):
        raise record.error(SAME)
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
