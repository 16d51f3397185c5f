"""Sample dialogues, shown with filters: what was really said.

Answers are untrusted input. The page embeds them as data, in a block of JSON, and ``assets/page.js`` writes them as
text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from csrlhf.report.blocks import Block
from csrlhf.report.numbers import finite, show
from csrlhf.types import Prompt


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
