"""What a source holds: counts, labels, lengths, repetitions, leaks between splits, samples. Numbers only.

``summary_view.py`` shows them. A generated world (a source with an oracle) repeats itself by construction: there,
near-duplicates are not looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csrlhf.data.encoding import prompt_text
from csrlhf.data.leaks import Leak, PromptSet, Splits, between_splits, prompt_set
from csrlhf.data.near_duplicates import groups, normalise
from csrlhf.data.source import KINDS, SPLITS, DataSource, Kind, MissingRowsError, Split
from csrlhf.types import PreferenceRow

# One kind of row in one split, counted: different prompts, repetitions, labels, lengths.

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


NUM_SAMPLES = 5


@dataclass(frozen=True)
class Summary:
    """All parts of a source, and what lies between them.

    Attributes:
        parts: by kind, then split.
        leaks: prompts of a held-out split that another split or an earlier stage has.
        left_out: rows that were left out, by split and reason.
        samples: rows of the first split, of all kinds in turn.
    """

    parts: list[Part]
    leaks: list[Leak]
    left_out: Mapping[str, Counter[str]]
    samples: list[Any] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Flat numbers, keyed as in docs/reference/metrics.md."""
        numbers: dict[str, float] = {}
        for part in self.parts:
            area = f"data/{part.split}/{part.kind}"
            numbers |= {f"{area}/rows": part.rows, f"{area}/prompts": part.prompts, f"{area}/repeated": part.repeated}
            if part.kind in ("preferences", "labelled"):
                numbers[f"{area}/contradicting"] = part.contradicting
            if part.near is not None:
                numbers[f"{area}/near_duplicates"] = part.near
            numbers |= {f"{area}/unsafe/{name}": share for name, share in part.unsafe.items()}
            for name, quantile in (("median", 0.5), ("p95", 0.95), ("max", 1.0)):
                numbers[f"{area}/{part.ruler.unit}_{name}"] = float(np.quantile(part.lengths, quantile))
            if part.over_limit is not None:
                numbers[f"{area}/over_limit"] = part.over_limit
        for leak in self.leaks:
            stage = f"{leak.known.stage}_" if leak.known.stage else ""
            numbers[f"data/leaks/{leak.held_out.split}_in_{stage}{leak.known.split}"] = len(leak.pairs)
        return numbers | {f"data/{split}/left_out": reasons.total() for split, reasons in self.left_out.items()}


def summarise(source: DataSource, ruler: Callable[[Kind], Ruler], seed: int, earlier: Sequence[Splits] = ()) -> Summary:
    """Reads everything that a source has.

    Args:
        source: where rows come from.
        ruler: what lengths of a kind of row are measured with.
        seed: chooses the samples.
        earlier: prompts that stages have been trained on already.

    Raises:
        UserError: a row is broken.
    """
    rows = dict(_everything(source))
    near = source.oracle is None
    parts = [part_of(source, kind, split, found, ruler(kind), near) for (kind, split), found in rows.items()]
    leaks = between_splits(_splits(source, rows), earlier, near)
    return Summary(parts, leaks, getattr(source, "left_out", {}), _samples(rows, seed))


def _everything(source: DataSource) -> Iterator[tuple[tuple[Kind, Split], list[Any]]]:
    has = getattr(source, "has", lambda split: True)
    for kind in KINDS:
        for split in SPLITS:
            if has(split):
                try:
                    yield (kind, split), list(getattr(source, kind)(split))
                except MissingRowsError:
                    continue  # what a table does not offer is no part of the summary


def _splits(source: DataSource, rows: Mapping[tuple[Kind, Split], list[Any]]) -> Splits:
    """The prompts of each split, of all kinds of rows taken together."""
    sets: dict[Split, PromptSet] = {}
    for split in SPLITS:
        found = [row for (_, other), table in rows.items() if other == split for row in table]
        if found:
            sets[split] = prompt_set(found, source, split)
    return sets


def _samples(rows: Mapping[tuple[Kind, Split], list[Any]], seed: int) -> list[Any]:
    """Rows of the first split, kinds with responses in turn; prompts alone where there is nothing else."""
    first = min((split for _, split in rows), key=SPLITS.index, default=None)
    tables = {kind: found for (kind, split), found in rows.items() if split == first}
    tables = {kind: found for kind, found in tables.items() if kind != "prompts"} or tables
    rng = np.random.default_rng(seed)
    drawn = {kind: rng.permutation(len(found))[:NUM_SAMPLES] for kind, found in tables.items()}
    turns = [(turn, kind) for turn in range(NUM_SAMPLES) for kind in tables if turn < len(drawn[kind])]
    return [tables[kind][drawn[kind][turn]] for turn, kind in turns[:NUM_SAMPLES]]
