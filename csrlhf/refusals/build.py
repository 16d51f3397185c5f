"""From the key ``refusals`` to who finds refusals: ``words``, or a folder with a trained judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from csrlhf.refusals.words import WordJudge
from csrlhf.types import Prompt

WORDS = WordJudge.name


class Refusals(Protocol):
    """Who finds refusals."""

    name: str
    """``words``, or the judge's folder."""

    def check(self) -> None:
        """Raises a UserError where something that it needs is not here."""

    def refused(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[bool]:
        """Whether each answer refuses."""
        ...


def refusal_judge(given: str | Path, key: str = "refusals") -> Refusals:
    """Who finds refusals, looked at but not loaded.

    Args:
        given: ``words``, or a folder.
        key: where it is named, for messages.

    Raises:
        UserError: the folder is missing, holds no judge, or one whose backbone is not here.
    """
    if str(given) == WORDS:
        return WordJudge()
    from csrlhf.refusals.judge import RefusalJudge

    judge = RefusalJudge.load(given, key)
    judge.check()
    return judge
