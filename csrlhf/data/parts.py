"""One kind of row in one split, counted: different prompts, repetitions, labels, lengths. Part of ``summary.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import groups, normalise
from csrlhf.data.source import DataSource, Kind, Split
from csrlhf.types import PreferenceRow

MEASURED = 2_000
"""Rows whose length is taken, evenly spread: tokenising all of a large table takes minutes."""


@dataclass(frozen=True)
class Ruler:
    """How long rows are.

    Attributes:
        lengths: of rows of one kind.
        unit: ``tokens`` or ``words``.
        limit: what the stage has room for, in tokens; None where lengths are words.
        limit_key: the key that sets it.
    """

    lengths: Callable[[Sequence[Any]], list[int]]
    unit: str
    limit: int | None = None
    limit_key: str = ""


@dataclass(frozen=True)
class Part:
    """The rows of one kind in one split.

    Attributes:
        kind: of the rows.
        split: where they are.
        rows: how many there are.
        prompts: different ones, after normalisation.
        repeated: rows whose texts stood in an earlier row already.
        contradicting: rows whose texts occur in another row with another label, or pair in the other order.
        near: prompts that have a near-duplicate among the split's other prompts; None where not looked for.
        unsafe: share of rows labelled unsafe, by constraint.
        lengths: of (a sample of) the rows, with the ruler's unit.
        ruler: what they were measured with.
    """

    kind: Kind
    split: Split
    rows: int
    prompts: int
    repeated: int
    contradicting: int
    near: int | None
    unsafe: dict[str, float]
    lengths: NDArray[np.int64]
    ruler: Ruler

    @property
    def over_limit(self) -> float | None:
        """Share of rows that are longer than the stage has room for."""
        return None if self.ruler.limit is None else float((self.lengths > self.ruler.limit).mean())


def texts_of(row: Any) -> tuple[str, ...]:
    """The texts of a row, prompt first."""
    if isinstance(row, PreferenceRow):
        return (prompt_text(row.prompt), row.chosen, row.rejected)
    return (prompt_text(row.prompt), *([row.response] if hasattr(row, "response") else []))


def part_of(source: DataSource, kind: Kind, split: Split, rows: Sequence[Any], ruler: Ruler, near: bool) -> Part:
    """Counts the rows that ``source`` has of a kind in a split; looks for near-duplicates where ``near``."""
    texts = [tuple(normalise(text) for text in texts_of(row)) for row in rows]
    prompts = list(dict.fromkeys(text[0] for text in texts))
    unsafe = {}
    if kind == "labelled":
        unsafe_NK = np.array([row.unsafe for row in rows])
        unsafe = dict(zip(source.constraints, unsafe_NK.mean(axis=0).tolist(), strict=True))
    spread = np.unique(np.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).astype(int))
    lengths = np.array(ruler.lengths([rows[index] for index in spread]))
    in_groups = Counter(groups(prompts)) if near else Counter()
    crowded = sum(count for count in in_groups.values() if count > 1)
    return Part(
        kind=kind,
        split=split,
        rows=len(rows),
        prompts=len(prompts),
        repeated=len(texts) - len(set(texts)),
        contradicting=_num_contradicting(rows, texts),
        near=crowded if near else None,
        unsafe=unsafe,
        lengths=lengths,
        ruler=ruler,
    )


def _num_contradicting(rows: Sequence[Any], texts: Sequence[tuple[str, ...]]) -> int:
    """Rows with the same texts as another one, and another judgement on them."""
    said: dict[Any, set[Any]] = {}
    keys = []
    for row, (prompt, *responses) in zip(rows, texts, strict=True):
        if isinstance(row, PreferenceRow):  # the first one is the better one
            key, judgement = (prompt, *sorted(responses)), tuple(responses)
        else:
            key, judgement = (prompt, *responses), getattr(row, "unsafe", None)
        keys.append(key)
        said.setdefault(key, set()).add(judgement)
    return sum(len(said[key]) > 1 for key in keys)
