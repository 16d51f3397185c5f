"""What a report is made of beside tables, figures and dialogues: text, cards, key-values, certificates, sections.

A block holds content only. Its look is defined in ``assets/``; ``kind`` names its macro there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from csrlhf.report.numbers import show

Tone = Literal["good", "warn", "bad", "neutral"]
TONES = ("good", "warn", "bad", "neutral")


class Block:
    """A part of a report.

    Attributes:
        kind: the macro of ``assets/blocks.html`` that draws it.
    """

    kind: ClassVar[str]


def check_block(block: Any) -> None:
    """Raises a TypeError for what no report can show."""
    if not isinstance(block, Block):
        known = "Text, Cards, Table, Matrix, Figure, Dialogues, Certificate, KeyValues, Section"
        raise TypeError(f"{block!r} is not a block of a report ({known})")


@dataclass(frozen=True)
class Text(Block):
    """Plain words; paragraphs stand apart by blank lines."""

    words: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs, without empty ones."""
        return [part.strip() for part in self.words.split("\n\n") if part.strip()]


@dataclass(frozen=True)
class Card:
    """One number that a reader should see first.

    Attributes:
        label: what it is.
        value: text or a number.
        note: its interval, its unit, against what it is measured.
        tone: good, warn, bad or neutral.
    """

    label: str
    value: Any
    note: str = ""
    tone: Tone = "neutral"

    def __post_init__(self) -> None:
        if self.tone not in TONES:
            raise ValueError(f"card {self.label!r}: tone {self.tone!r} must be one of {', '.join(TONES)}")

    @property
    def words(self) -> str:
        """The value as it is shown."""
        return show(self.value)


@dataclass(frozen=True)
class Cards(Block):
    """Cards beside each other, at most five in a row."""

    cards: Sequence[Card]
    kind: ClassVar[str] = "cards"

    @property
    def columns(self) -> int:
        """Cards per row: rows are filled evenly, so that no card is left alone in the last one."""
        rows = max(1, math.ceil(len(self.cards) / 5))
        return math.ceil(len(self.cards) / rows)


@dataclass(frozen=True)
class KeyValues(Block):
    """Facts in two columns: provenance, settings.

    Attributes:
        title: the heading; empty for none.
        values: text, numbers, lists, or a mapping of these.
    """

    title: str
    values: Mapping[str, Any]
    kind: ClassVar[str] = "key_values"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and their values."""
        return [(str(key), show(value)) for key, value in self.values.items()]


VERDICT_TONES: Mapping[str, Tone] = {"CERTIFIED": "good", "VIOLATED": "bad", "INCONCLUSIVE": "warn"}


@dataclass(frozen=True)
class Certificate(Block):
    """A verdict with the claim that it is about, and what the claim rests on.

    Attributes:
        verdict: CERTIFIED, VIOLATED, INCONCLUSIVE, or another word (neutral).
        claim: one sentence.
        facts: bound, threshold, confidence, counts, ...
        reasons: why the verdict is what it is, and what it assumes; one sentence each.
    """

    verdict: str
    claim: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    kind: ClassVar[str] = "certificate"

    @property
    def tone(self) -> Tone:
        """The colour of the verdict."""
        return VERDICT_TONES.get(self.verdict, "neutral")

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The facts as they are shown."""
        return [(str(key), show(value)) for key, value in self.facts.items()]


@dataclass(frozen=True)
class Section(Block):
    """Blocks under a heading; a section in a section has a smaller one."""

    title: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "section"

    def __post_init__(self) -> None:
        for block in self.blocks:
            check_block(block)
