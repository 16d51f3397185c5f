"""What a report is made of beside tables and figures: text, cards, facts, certificates, dialogues, sections.

A block holds content only. Its look is defined in ``assets/``; ``kind`` names its macro there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from csrlhf.report.numbers import finite, show
from csrlhf.types import Prompt

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


def check_tone(tone: str, name: str) -> None:
    """Raises a ValueError for a tone that no style knows."""
    if tone not in TONES:
        raise ValueError(f"{name}: tone {tone!r} must be one of {', '.join(TONES)}")


@dataclass(frozen=True)
class Text(Block):
    """Plain words; paragraphs stand apart by blank lines.

    Attributes:
        words: the paragraphs.
        tone: good, warn, bad or neutral.
    """

    words: str
    tone: Tone = "neutral"
    kind: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        check_tone(self.tone, f"text {self.words[:40]!r}")

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
        check_tone(self.tone, f"card {self.label!r}")

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
class Dialogue:
    """A prompt and its answer.

    Attributes:
        prompt: text, or chat messages (``role`` and ``content``).
        response: the answer.
        labels: what it can be filtered by: policy, category, verdict, ...
        collapsed: the answer is hidden until a reader asks for it.
        values: numbers beside it: reward, cost, ...
    """

    prompt: Prompt
    response: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    collapsed: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialogues(Block):
    """Dialogues with one filter a label, a search box and a count.

    Answers are untrusted input. The page embeds them as data, in a block of JSON, and ``assets/page.js`` writes them as
    text.

    Attributes:
        dialogues: in the order they are shown in.
        title: the heading.
        first: how many are shown at once; a button shows as many more.
        note: a sentence above them.
    """

    dialogues: Sequence[Dialogue]
    title: str = "Sample dialogues"
    first: int = 20
    note: str = ""
    kind: ClassVar[str] = "dialogues"

    def __post_init__(self) -> None:
        if self.first < 1:
            raise ValueError(f"dialogues {self.title!r}: first={self.first} must be at least 1")

    @property
    def filters(self) -> list[str]:
        """Keys of labels that tell dialogues apart, in the order of their first appearance."""
        keys = dict.fromkeys(key for dialogue in self.dialogues for key in dialogue.labels)
        rows = [dialogue.labels for dialogue in self.dialogues]
        return [key for key in keys if len({show(row.get(key)) for row in rows}) > 1]

    @property
    def orders(self) -> list[str]:
        """Keys of values that dialogues can be put in order by."""
        return list(dict.fromkeys(key for dialogue in self.dialogues for key in dialogue.values))

    @property
    def data(self) -> str:
        """All of it as JSON, in which no character ends a script block or is anything but ASCII."""
        items = [
            {
                "turns": _turns(dialogue.prompt),
                "response": dialogue.response,
                "labels": {key: show(value) for key, value in dialogue.labels.items()},
                "values": {key: show(value) for key, value in dialogue.values.items()},
                "numbers": {key: finite(value) for key, value in dialogue.values.items()},
                "collapsed": dialogue.collapsed,
            }
            for dialogue in self.dialogues
        ]
        content = {"first": self.first, "filters": self.filters, "orders": self.orders, "dialogues": items}
        text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _turns(prompt: Prompt) -> list[list[str]]:
    """Who says what before the answer."""
    if isinstance(prompt, str):
        return [["prompt", prompt]]
    return [[str(turn["role"]), str(turn["content"])] for turn in prompt]


@dataclass(frozen=True)
class Section(Block):
    """Blocks under a heading; a section in a section has a smaller one."""

    title: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "section"

    def __post_init__(self) -> None:
        for block in self.blocks:
            check_block(block)
