"""From sampled ids back to text: what a user sees of a response, and the thought before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.chat_templates import thought_of
from csrlhf.data.thoughts import MARKS, OPEN, split_thought
from csrlhf.models.settings import Thought


def responses_and_thoughts(
    tokenizer: PreTrainedTokenizerBase, ids_BT: Tensor, mask_BT: Tensor
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Response texts: only what the mask selects (never the prompt), special tokens removed.

    Args:
        tokenizer: the policy's.
        ids_BT: sampled ids.
        mask_BT: True on those before the end of the turn: not every tokenizer counts that among its special tokens.

    Returns:
        The responses, as they are scored; and the thoughts, where any response has one and it is kept beside them.
    """
    rows = [ids[mask].tolist() for ids, mask in zip(ids_BT, mask_BT, strict=True)]
    opened, mode = format_of(tokenizer).opened, thought_of(tokenizer)
    texts = whole_texts(tokenizer, rows)
    parts = [split_thought(text, opened, drawn=True) for text in texts]
    if mode == Thought.score:
        # With both marks, wherever the first of them stood: a scorer of another format reads a thought as one, too.
        begun = [OPEN + text if opened and not text.lstrip().startswith(OPEN) else text for text in texts]
        return tuple(begun), None
    thoughts = tuple(thought or "" for thought, _ in parts)
    return tuple(seen for _, seen in parts), thoughts if mode == Thought.keep and any(thoughts) else None


def whole_texts(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    """Texts with the marks of thoughts in them, which some tokenizers count among the special tokens."""
    control = format_of(tokenizer).control
    marks = {control[mark]: mark for mark in MARKS if mark in tokenizer.all_special_tokens and mark in control}
    if not any(index in marks for row in rows for index in row):
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
    return ["".join(_pieces(tokenizer, row, marks)) for row in rows]


def _pieces(tokenizer: PreTrainedTokenizerBase, row: list[int], marks: dict[int, str]) -> Iterable[str]:
    start = 0
    for place, index in enumerate(row):
        if index in marks:
            yield str(tokenizer.decode(row[start:place], skip_special_tokens=True))
            yield marks[index]
            start = place + 1
    yield str(tokenizer.decode(row[start:], skip_special_tokens=True))


def seen_so_far(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], ids: Sequence[int]) -> str:
    """What of an answer that is being drawn may be shown: nothing of a thought, nor of the mark that begins one.

    Args:
        tokenizer: the policy's.
        ends: of a turn, which are no text.
        ids: drawn so far.
    """
    text = whole_texts(tokenizer, [[index for index in ids if index not in ends]])[0]
    if thought_of(tokenizer) == Thought.score:
        return text
    if OPEN.startswith(text.strip()):
        return ""
    return split_thought(text, format_of(tokenizer).opened, drawn=True)[1]
