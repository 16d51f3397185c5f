"""Certification prompts: each counts once, and none may have been trained on, chosen by, or used for a threshold.

A bound on a policy's violation rate holds for prompts that had no part in making it. Which earlier data there is, is
the caller's part (``certification_check.py``); here it is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.leaks import NAMED, PromptSet, find_leaks
from csrlhf.data.near_duplicates import near_pairs, normalise
from csrlhf.errors import UserError
from csrlhf.types import PromptRow


@dataclass(frozen=True)
class Known:
    """What took part in making a policy, as far as it is recorded.

    Attributes:
        sets: prompts trained on, chosen by, or used for a threshold.
        files: sha256 of the files that they came from, and whose they are (``train data of stage=cost``).
        unchecked: results whose data is unknown or cannot be read any more, in words.
        generated: the data is a generated world's, in which near-duplicates are the rule.
    """

    sets: tuple[PromptSet, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    generated: bool = False

    @property
    def texts(self) -> frozenset[str]:
        """All known prompts, normalised."""
        return frozenset(text for part in self.sets for text in part.texts)


@dataclass(frozen=True)
class Untouched:
    """Prompts to certify on, and what was found about them.

    Attributes:
        rows: each different prompt once, in the order of the file.
        repeated: rows that were left out because their prompt stood before.
        near_duplicates: remaining prompts with a near-duplicate among them: these say less than as many others.
        nearly_known: remaining prompts that are nearly, not quite, a known one; None where that was not looked for.
        compared: what they were compared with, in words, with the number of prompts.
        unchecked: what they could not be compared with.
    """

    rows: tuple[PromptRow, ...]
    repeated: int
    near_duplicates: int
    nearly_known: int | None
    compared: tuple[str, ...]
    unchecked: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What a certificate says of it, JSON-ready."""
        return {
            "compared": list(self.compared),
            "unchecked": list(self.unchecked),
            "nearly_known": self.nearly_known,
        }


def untouched(
    rows: Sequence[PromptRow],
    known: Known,
    key: str,
    digest: str | None = None,
    places: Mapping[str, str] | None = None,
) -> Untouched:
    """The different prompts among ``rows``, if none of them is known.

    Args:
        rows: the prompts as they were given.
        known: what took part in making the policy.
        key: what named the prompts, for messages: ``certify.prompts=new.jsonl``.
        digest: sha256 of their file, where they come from one.
        places: ``file:line`` by normalised prompt.

    Raises:
        UserError: the file, or one of the prompts, is known; the message names the first of them.
    """
    if digest is not None and digest in known.files:
        raise UserError(
            f"{key}: this file is the {known.files[digest]}; a certificate needs prompts that had no part in training, "
            "selection or the choice of a threshold"
        )
    texts: dict[str, str] = {}
    kept: dict[str, PromptRow] = {}
    for row in rows:
        text = prompt_text(row.prompt)
        if kept.setdefault(normalise(text), row) is row:
            texts[normalise(text)] = text
    own = PromptSet("test", None, texts, dict(places or {}))
    nearly = _refuse_known(own, known, key)
    pairs = near_pairs(list(texts))
    return Untouched(
        rows=tuple(kept.values()),
        repeated=len(rows) - len(kept),
        near_duplicates=len({number for i, j, _ in pairs for number in (i, j)}),
        nearly_known=nearly,
        compared=tuple(f"{part.name} ({len(part.texts):,})" for part in known.sets),
        unchecked=known.unchecked,
    )


def _refuse_known(own: PromptSet, known: Known, key: str) -> int | None:
    """Raises where a prompt is known; else the number of those that are nearly."""
    leaks = find_leaks([(own, part) for part in known.sets], near=not known.generated)
    equal = {first: leak.known for leak in leaks for first, second in leak.pairs if first == second}
    if equal:
        named = "; ".join(f"{own.quote(text)}, one of the {part.name}" for text, part in list(equal.items())[:NAMED])
        more = f"; and {len(equal) - NAMED:,} more" if len(equal) > NAMED else ""
        raise UserError(
            f"{key}: {len(equal):,} of {len(own.texts):,} prompts were used in training or selection, which "
            f"would invalidate the certificate: {named}{more}. Leave them out, or name other prompts"
        )
    return None if known.generated else len({first for leak in leaks for first, _ in leak.pairs})
