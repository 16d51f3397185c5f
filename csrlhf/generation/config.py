"""Settings of ``stage=decode``. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from csrlhf.settings import Settings, setting

REFUSAL = "I'm sorry, but I can't help with that."


class Rule(StrEnum):
    """Which candidate is the answer."""

    best = auto()
    """The accepted one with the highest reward."""
    first = auto()
    """The first accepted one, and no more is drawn."""


@dataclass
class DecodeSettings(Settings):
    """Safe decoding of a file of prompts (docs/how-to/decode.md).

    Attributes:
        prompts: the file, with the column ``prompt`` (or ``messages``), and ``id`` if it has any.
        n: the most candidates per prompt.
        rule: which of them is the answer.
        threshold: highest cost logit that is accepted, for all constraints or by name.
        refusal: the answer where all candidates are rejected.
        batch_size: answers drawn and judged at once.
        candidates: keep every candidate in the output, not the answer alone.
        certificate: ``certificate.json`` of ``stage=certify``; refused where it speaks of other answers than these.
    """

    key = "decode"

    prompts: str | None = None
    n: int = setting(8, ">= 1")
    rule: Rule = Rule.best
    threshold: Any = 0.0
    refusal: str = REFUSAL
    batch_size: int = setting(16, ">= 1")
    candidates: bool = False
    certificate: str | None = None
