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

from csrlhf.data.leaks import Leak, PromptSet, Splits, between_splits, prompt_set
from csrlhf.data.parts import Part, Ruler, part_of
from csrlhf.data.source import KINDS, SPLITS, DataSource, Kind, MissingRowsError, Split

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
