"""Prompts that are held out in one place and known in another: equal after normalisation, or near-duplicates.

Which places are compared is the callers' part (``runs/leak_check.py`` for stages, ``summary.py`` for splits).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import near_pairs, normalise
from csrlhf.data.seen import Look
from csrlhf.data.source import DataSource, Split
from csrlhf.errors import UserError
from csrlhf.types import PromptRow

NAMED = 3
"""Leaking prompts that a message names."""


@dataclass(frozen=True)
class PromptSet:
    """The different prompts of a split.

    Attributes:
        split: whose they are.
        stage: whose split it is; None for the data itself.
        texts: the prompts by their normalised text.
        places: ``file:line`` by normalised text, where it is known.
    """

    split: Split
    stage: str | None
    texts: dict[str, str]
    places: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages: ``validation prompts of stage=cost``."""
        return f"{self.split} prompts" + (f" of stage={self.stage}" if self.stage else "")

    def quote(self, key: str) -> str:
        """A prompt's beginning and its place."""
        text = " ".join(self.texts[key].split())
        place = f" ({self.places[key]})" if key in self.places else ""
        return f"'{text if len(text) <= 40 else text[:39] + '…'}'{place}"


@dataclass(frozen=True)
class Leak:
    """What two sets share.

    Attributes:
        held_out: the set that should be new.
        known: the set that was trained on, or chosen by.
        pairs: normalised texts, of ``held_out`` and of ``known``; one pair for each leaking prompt, equal ones first.
    """

    held_out: PromptSet
    known: PromptSet
    pairs: tuple[tuple[str, str], ...]

    @property
    def num_equal(self) -> int:
        """How many of them are equal after normalisation; the others are near-duplicates."""
        return sum(first == second for first, second in self.pairs)

    def message(self) -> str:
        """One line that names the first prompts with their places."""
        named = "; ".join(self._named(first, second) for first, second in self.pairs[:NAMED])
        more = f"; and {len(self.pairs) - NAMED:,} more" if len(self.pairs) > NAMED else ""
        return (
            f"{len(self.pairs):,} of {len(self.held_out.texts):,} {self.held_out.name} are among the {self.known.name} "
            f"({self.num_equal:,} equal, {len(self.pairs) - self.num_equal:,} nearly): {named}{more}"
        )

    def _named(self, first: str, second: str) -> str:
        if first != second:
            return f"{self.held_out.quote(first)} is nearly {self.known.quote(second)}"
        place = f" is {self.known.places[second]}" if second in self.known.places else ""
        return f"{self.held_out.quote(first)}{place}"


def prompt_set(rows: Iterable[Any], source: DataSource, split: Split, stage: str | None = None) -> PromptSet:
    """The prompts of a split's rows, whatever kind they are of, with their places where the source knows them."""
    texts: dict[str, str] = {}
    for row in rows:
        text = prompt_text(row.prompt)
        texts.setdefault(normalise(text), text)
    places = getattr(source, "places", None)
    return PromptSet(split, stage, texts, places(split) if places else {})


KNOWN: Mapping[Split, tuple[Split, ...]] = {"validation": ("train",), "test": ("train", "validation")}
"""What a held-out split must not share prompts with: a test also not with what checkpoints were chosen by."""

Splits = Mapping[Split, PromptSet]


def between_splits(own: Splits, earlier: Sequence[Splits] = (), near: bool = True) -> list[Leak]:
    """What the held-out splits of ``own`` share with its other splits and with those of earlier stages."""
    return find_leaks(
        [
            (own[split], sets[known])
            for split, splits in KNOWN.items()
            if split in own
            for sets in (own, *earlier)
            for known in splits
            if known in sets
        ],
        near,
    )


def find_leaks(comparisons: Sequence[tuple[PromptSet, PromptSet]], near: bool = True) -> list[Leak]:
    """What held-out sets share with known ones.

    Args:
        comparisons: pairs of a held-out and a known set.
        near: also look for near-duplicates.

    Returns:
        One entry for each comparison that shares something.
    """
    neighbours = _neighbours(part for comparison in comparisons for part in comparison) if near else {}
    leaks = []
    for held_out, known in comparisons:
        equal = [(key, key) for key in held_out.texts if key in known.texts]
        nearly = []
        for key in held_out.texts:
            close = [other for other in neighbours.get(key, ()) if other in known.texts]
            if close and key not in known.texts:
                nearly.append((key, close[0]))
        if equal or nearly:
            leaks.append(Leak(held_out, known, (*equal, *nearly)))
    return leaks


def _neighbours(sets: Iterable[PromptSet]) -> dict[str, list[str]]:
    """The near-duplicates of each normalised text, the closest first."""
    texts = list(dict.fromkeys(key for part in sets for key in part.texts))
    found: dict[str, list[tuple[float, str]]] = {}
    for i, j, similarity in near_pairs(texts):
        found.setdefault(texts[i], []).append((-similarity, texts[j]))
        found.setdefault(texts[j], []).append((-similarity, texts[i]))
    return {key: [text for _, text in sorted(close)] for key, close in found.items()}


# Certification prompts: each counts once, and none may have been trained on, chosen by, or used for a threshold.
#
# A bound on a policy's violation rate holds for prompts that had no part in making it. Which earlier data there is, is
# the caller's part (``runs/leak_check.py``); here it is compared.


@dataclass(frozen=True)
class Known:
    """What took part in making a policy, as far as it is recorded.

    Attributes:
        sets: prompts trained on, chosen by, or used for a threshold.
        files: sha256 of the files that they came from, and whose they are (``train data of stage=cost``).
        unchecked: results whose data is unknown or cannot be read any more, in words.
        generated: the data is a generated world's, in which near-duplicates are the rule.
        looks: what the policy's family was seen on since (``seen.py``).
    """

    sets: tuple[PromptSet, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    generated: bool = False
    looks: tuple[Look, ...] = ()

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
