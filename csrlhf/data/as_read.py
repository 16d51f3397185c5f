"""A row as a model reads it: the template's own tokens around the texts, cut where the stage would cut it.

For a person's eye, before anything is trained. Whether ``<|im_end|>`` in a prompt is a control token or nine
characters cannot be seen in decoded text, so control tokens are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.text import Text

from csrlhf.data.demonstrations import encode_demonstration
from csrlhf.data.encoding import encode_dialogue, encode_prompt, seen_response
from csrlhf.data.intake import NO_LIMIT
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "⟦", "⟧"
"""Around a control token."""

SHOWN = 1_200
"""Characters of a sample that are printed: the whole template with a system prompt, and enough of the texts."""


@dataclass(frozen=True)
class Piece:
    """A control token, or the text between two of them.

    Example: ``Piece("<|im_end|>", control=True)``.
    """

    text: str
    control: bool


@dataclass(frozen=True)
class AsRead:
    """One row before one model.

    Attributes:
        title: what it is, for whom.
        num_tokens: of the whole sequence.
        learned: the first of ``pieces`` that is learned; None where nothing is (a prompt, a scored dialogue).
        pieces: the sequence.
    """

    title: str
    num_tokens: int
    learned: int | None
    pieces: list[Piece]


def as_read(tokenizer: PreTrainedTokenizerBase, row: Any, limit: int) -> AsRead:
    """What the stage that uses a row puts before its model.

    Args:
        tokenizer: of the policy for prompts and demonstrations, of the score models for the others.
        row: of any kind; of a pair the chosen response.
        limit: the stage's room in tokens. A dialogue is cut to it; a prompt is shown whole.

    Raises:
        RefusedTurnsError: the template does not take the conversation.
    """
    if isinstance(row, DemonstrationRow):
        prompt_ids, response_ids = encode_demonstration(tokenizer, row, NO_LIMIT)
        response_ids = response_ids[: max(limit - len(prompt_ids), 0)]
        before, learned = pieces(tokenizer, prompt_ids), pieces(tokenizer, response_ids)
        length = len(prompt_ids) + len(response_ids)
        return AsRead("a demonstration, read by the policy in sft", length, len(before), before + learned)
    if isinstance(row, PreferenceRow):
        title, response = "the better response of a pair, read by the reward model", row.chosen
    elif isinstance(row, LabelledRow):
        title, response = "a labelled response, read by the cost model", row.response
    else:
        ids = encode_prompt(tokenizer, row.prompt, NO_LIMIT)
        return AsRead("a prompt, read by the policy in rollouts", len(ids), None, pieces(tokenizer, ids))
    ids = encode_dialogue(tokenizer, row.prompt, seen_response(tokenizer, response), limit)
    return AsRead(title, len(ids), None, pieces(tokenizer, ids))


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[Piece]:
    """Ids as text, control tokens by themselves."""
    special = set(tokenizer.all_special_ids) | {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    found: list[Piece] = []
    for control, run in groupby(ids, key=special.__contains__):
        if control:
            found += [Piece(str(tokenizer.convert_ids_to_tokens(index)), True) for index in run]
        else:
            text = tokenizer.decode(list(run), clean_up_tokenization_spaces=False)
            found.append(Piece(text if isinstance(text, str) else "".join(text), False))
    return found


def lines(found: Sequence[AsRead]) -> Iterator[Text]:
    """The sequences for a terminal; what is learned is underlined where a terminal can do it."""
    yield Text(f"\nAs the models read them ({OPEN} {CLOSE}: a control token)", style="bold")
    for one in found:
        learned = "" if one.learned is None else "; what is learned comes after ▸"
        yield Text(f"  {one.title}, {one.num_tokens:,} tokens{learned}", style="dim")
        told = Text()
        for index, piece in enumerate(one.pieces):
            if index == one.learned:
                told.append("▸", style="green")
            if piece.control:
                told.append(f"{OPEN}{piece.text}{CLOSE}", style="cyan")
            else:
                told.append(piece.text, style="" if one.learned is None or index < one.learned else "green")
        if len(told) > SHOWN:
            left_out = len(told) - SHOWN
            told = Text.assemble(
                told[: SHOWN // 2], (f" [... {left_out:,} characters ...] ", "dim"), told[-SHOWN // 2 :]
            )
        yield from (Text.assemble("  │ ", line) for line in told.split("\n", allow_blank=True))
        yield Text("")
