"""Which of a source's rows a stage uses: those that fit, before anything is trained; and how many it does not use.

``data.too_long`` says what happens to a row that is longer than its stage has room for. Where it is null, a prompt is
an error (cutting it would ask another question) and a dialogue is cut. A DataModule hands its rows through an
:class:`Intake`, in ``setup``: a row that broke the rules in iteration 150 would cost all of them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from csrlhf.data.encoding import RefusedTurnsError, encode_prompt, prompt_text
from csrlhf.data.source import Split
from csrlhf.data.tables.record import LeftOut
from csrlhf.errors import InputWarning, UserError
from csrlhf.types import Prompt

if TYPE_CHECKING:  # the data sources import this file, and the pipeline's waiting parent imports them
    from transformers import PreTrainedTokenizerBase

Row = TypeVar("Row")
Made = TypeVar("Made")

NO_LIMIT = 10**9
"""More tokens than any text has: lengths are measured uncut."""


class TooLong(StrEnum):
    """What happens to a row that is longer than its stage has room for."""

    error = auto()
    """The first one ends the stage, before it trains."""
    skip = auto()
    """It is left out and counted."""
    truncate = auto()
    """It is cut and counted: of a prompt the end is kept, of a response the beginning."""


def check_too_long(value: str | None) -> TooLong | None:
    """``data.too_long`` as it is used.

    Raises:
        UserError: it is none of the words.
    """
    if value is None or value in TooLong.__members__:
        return None if value is None else TooLong(value)
    raise UserError(f"data.too_long={value}: must be {', '.join(TooLong)}, or null (prompts: error; dialogues are cut)")


@dataclass(frozen=True)
class Room:
    """How many tokens a stage has room for.

    Attributes:
        tokens: the most that a row may have.
        key: what sets it.
        unset: what happens to longer rows where ``data.too_long`` is null.
    """

    tokens: int
    key: str
    unset: TooLong = TooLong.truncate


@dataclass
class Count:
    """What became of the rows of one kind in one split.

    Attributes:
        read: rows that the source has.
        truncated: rows that are cut.
        left_out: rows that are not used, by reason.
    """

    read: int = 0
    truncated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def record(self) -> dict[str, Any]:
        """For ``csrlhf.json``."""
        used = self.read - self.left_out.total()
        return {"read": self.read, "used": used, "truncated": self.truncated, "left_out": dict(self.left_out)}


class Intake:
    """Takes rows in, and counts them.

    Args:
        source: where they come from. ``too_long`` and ``bad_rows`` are its attributes where it has them (every source
            of tables).

    Attributes:
        counts: by split and kind of row.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.too_long: TooLong | None = check_too_long(getattr(source, "too_long", None))
        self.skips_broken = getattr(source, "bad_rows", "error") == "skip"
        self.counts: dict[Split, dict[str, Count]] = {}

    def take(
        self,
        split: Split,
        kind: str,
        rows: Sequence[Row],
        room: Room,
        whole: Callable[[Row], tuple[Made, int]],
        cut: Callable[[Row], Made],
    ) -> list[Made]:
        """The rows as a stage uses them.

        Args:
            split: whose they are.
            kind: what they are called in messages, ``prompts`` say.
            rows: as the source gives them; each has a ``prompt``, or a ``first`` that has one.
            room: what they have to fit into.
            whole: makes an entry of a row, and says how many tokens the row has.
            cut: makes an entry of a row that is too long. Both may raise LeftOut with a reason.

        Raises:
            UserError: a row is too long or refused by the chat template and not to be left out, or no row is left.
        """
        handling, count = self.too_long or room.unset, Count(read=len(rows))
        self.counts.setdefault(split, {})[kind] = count
        longer, kept, first = [], [], {}
        for row in rows:
            try:
                made, length = whole(row)
                if length > room.tokens:
                    longer.append((row, length))
                    if handling is TooLong.skip:
                        raise LeftOut(f"longer than {room.key}={room.tokens} tokens")
                    if handling is TooLong.truncate:
                        made = cut(row)
                kept.append(made)
            except LeftOut as error:
                reason = str(error)
            except UserError as error:
                if not (isinstance(error, RefusedTurnsError) and self.skips_broken):
                    way_out = ""
                    if isinstance(error, RefusedTurnsError) and hasattr(self.source, "bad_rows"):
                        key = getattr(self.source, "bad_rows_key", "data.bad_rows")
                        way_out = f"; {key}=skip leaves such rows out"
                    raise UserError(f"{_place(row)}{error}{way_out}") from error
                reason = "the tokenizer's chat template refuses the conversation"
            else:
                continue
            count.left_out[reason] += 1
            first.setdefault(reason, f"{_place(row)}{reason}")
        if longer and handling is TooLong.error:
            raise UserError(self._complaint(split, kind, len(rows), longer, room))
        count.truncated = len(longer) if handling is TooLong.truncate else 0
        self._tell(split, kind, count, first, kept, room, longer)
        return kept

    def record(self) -> dict[str, Any]:
        """All counts for ``csrlhf.json``, with the rows that the source itself has left out."""
        found: dict[str, Any] = {
            split: {kind: count.record() for kind, count in kinds.items()} for split, kinds in self.counts.items()
        }
        for split, reasons in getattr(self.source, "left_out", {}).items():
            found.setdefault(split, {})["left_out_by_the_source"] = dict(reasons)
        return found

    def _complaint(self, split: Split, kind: str, total: int, longer: Sequence[tuple[Any, int]], room: Room) -> str:
        row, length = longer[0]
        start = prompt_text(getattr(row, "first", row).prompt)[:40]
        way_out = f"raise {room.key}"
        if hasattr(self.source, "too_long"):
            way_out += ", or set data.too_long=skip (leaves them out) or data.too_long=truncate (cuts them)"
        else:
            way_out += ", or drop them"
        return (
            f"{_place(row)}{length:,} tokens are more than {room.key}={room.tokens} has room for (it "
            f"begins: {start!r}); {len(longer):,} of {total:,} {kind} ({split}) are too long, up to "
            f"{max(length for _, length in longer):,} tokens: {way_out}"
        )

    def _tell(
        self,
        split: Split,
        kind: str,
        count: Count,
        first: dict[str, str],
        kept: Sequence[Any],
        room: Room,
        longer: Sequence[tuple[Any, int]],
    ) -> None:
        """One line for each thing that was done to rows."""
        if count.left_out and not kept:
            reasons = ", ".join(f"{number:,} x {reason}" for reason, number in count.left_out.items())
            raise UserError(
                f"data.{split}: none of the {count.read:,} {kind} is left ({reasons}); the first: "
                f"{next(iter(first.values()))}"
            )
        for reason, number in count.left_out.items():
            told = f"data.{split}: {number:,} of {count.read:,} {kind} are left out; the first: {first[reason]}"
            warnings.warn(told, InputWarning, stacklevel=3)
        if count.truncated:
            row, length = longer[0]
            warnings.warn(
                f"data.{split}: {count.truncated:,} of {count.read:,} {kind} are cut to {room.key}={room.tokens} "
                f"tokens; the first: {_place(row)}{length:,} tokens",
                InputWarning,
                stacklevel=3,
            )


def _place(row: Any) -> str:
    """``file:line: `` of a row whose source knows it."""
    place = getattr(getattr(row, "first", row), "place", "")
    return f"{place}: " if place else ""


# Prompts that are cut: as texts, so that the policy, the score models and every report see the same prompt.


def shortened(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, max_tokens: int) -> Prompt:
    """A prompt's end: what is asked mostly stands there.

    Of a conversation the oldest turns go first (not the system's), then the beginning of the last one.

    Args:
        tokenizer: with its chat template.
        prompt: longer than ``max_tokens``.
        max_tokens: as :func:`csrlhf.data.encoding.encode_prompt` counts them.

    Raises:
        UserError: the template and the system's turn alone leave no room.
    """

    def fits(candidate: Prompt) -> bool:
        return len(encode_prompt(tokenizer, candidate, NO_LIMIT)) <= max_tokens

    if isinstance(prompt, str):
        return _end(prompt, fits, max_tokens)
    system = prompt[:1] if prompt[0]["role"] == "system" else ()
    for start in range(len(system), len(prompt)):
        if prompt[start]["role"] == "user" and fits((*system, *prompt[start:])):
            return (*system, *prompt[start:])
    last = prompt[-1]
    return (*system, last | {"content": _end(last["content"], lambda text: fits((*system, _turn(text))), max_tokens)})


def _turn(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _end(text: str, fits: Callable[[str], bool], max_tokens: int) -> str:
    """The longest end of a text that fits; of whole words, unless a single one is too long."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(text[middle:]) else (middle + 1, high)
    end = text[high:]
    inside = 0 < high < len(text) and not (text[high - 1].isspace() or text[high].isspace())
    if inside and len(words := end.split(maxsplit=1)) == 2:
        end = words[1]
    while (end := end.strip()) and not fits(end):  # a word may cost more tokens without what stood before it
        end = end[1:]
    if not end:
        raise UserError(f"a prompt cannot be cut to {max_tokens} tokens: the chat template leaves its text no room")
    return end
