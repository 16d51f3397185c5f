"""What a source holds: counts, labels, lengths, repetitions, leaks between splits, samples; and its tables.

A generated world (a source with an oracle) repeats itself by construction: there,
near-duplicates are not looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from csrlhf.data.as_read import AsRead, as_read
from csrlhf.data.as_read import lines as as_read_lines
from csrlhf.data.encoding import prompt_text
from csrlhf.data.leaks import Leak, PromptSet, Splits, between_splits, prompt_set
from csrlhf.data.near_duplicates import groups, normalise
from csrlhf.data.source import KIND_WORDS, KINDS, SPLITS, DataSource, Kind, MissingRowsError, Split
from csrlhf.report import Table, print_blocks
from csrlhf.terminal import plain_console
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
        tokenizer: of the model that reads such rows; None where lengths are words.
    """

    lengths: Callable[[Sequence[Any]], list[int]]
    unit: str
    limit: int | None = None
    limit_key: str = ""
    tokenizer: PreTrainedTokenizerBase | None = None


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
        read: a row of each kind as its model reads it, where the model's tokenizer is in reach.
    """

    parts: list[Part]
    leaks: list[Leak]
    left_out: Mapping[str, Counter[str]]
    samples: list[Any] = field(default_factory=list)
    read: list[AsRead] = field(default_factory=list)

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
    return Summary(parts, leaks, getattr(source, "left_out", {}), _samples(rows, seed), list(_read(rows, ruler, seed)))


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


def _read(rows: Mapping[tuple[Kind, Split], list[Any]], ruler: Callable[[Kind], Ruler], seed: int) -> Iterator[AsRead]:
    """A row of each kind as its model reads it, of the first split that has some."""
    for kind in KINDS:
        found = next((rows[kind, split] for split in SPLITS if rows.get((kind, split))), None)
        measure = ruler(kind)
        if found and measure.tokenizer is not None and measure.limit is not None:
            row = found[int(np.random.default_rng(seed).integers(len(found)))]
            yield as_read(measure.tokenizer, row, measure.limit)


# A summary for people: tables, bars and samples that fit into 80 columns, plain where there is no terminal.

BINS = 8
BAR = 30
"""Width of the longest bar, in characters."""

WIDTH = 80
"""Columns of a sample's line: what fits anywhere."""


def print_summary(summary: Summary, constraints: Sequence[str], console: Console | None = None) -> None:
    """Print all of it, at most 100 columns wide.

    Args:
        summary: the numbers.
        constraints: names of the labels' columns.
        console: where to; the terminal where none is given.
    """
    console = console or plain_console()
    console.width = min(console.width, 100)
    labelled = any(part.unsafe for part in summary.parts)
    print_blocks([_counts(summary), *([_labels(summary)] if labelled else [])], console)
    for line in _lines(summary, constraints):
        console.print(line)


def _lines(summary: Summary, constraints: Sequence[str]) -> Iterator[Text]:
    for kind in KINDS:
        parts = [part for part in summary.parts if part.kind == kind]
        if parts:
            yield from _histogram(parts)
    yield from _odd(summary)
    yield Text("\nSamples", style="bold")
    for row in summary.samples:
        yield from _sample(row, constraints)
    if summary.read:
        yield from as_read_lines(summary.read)


def _counts(summary: Summary) -> Table:
    columns = ["kind", "split", "rows", "prompts", "repeated", "near-duplicate"]
    rows = []
    for part in summary.parts:
        near = None if part.near is None else f"{part.near:,}"
        rows.append([part.kind, part.split, f"{part.rows:,}", f"{part.prompts:,}", f"{part.repeated:,}", near])
    return Table(columns, rows, "Rows by kind and split")


def _labels(summary: Summary) -> Table:
    found = [(part.split, name, share) for part in summary.parts for name, share in part.unsafe.items()]
    rows = [[split, name, f"{share:.1%}", _bar(share)] for split, name, share in found]
    return Table(["split", "constraint", "unsafe", ""], rows, "Labels")


def _histogram(parts: Sequence[Part]) -> Iterator[Text]:
    """Bars for the first split, a line for each."""
    first, unit = parts[0], parts[0].ruler.unit
    yield Text(f"\nLength of {KIND_WORDS[first.kind]} in {unit} ({first.split})", style="bold")
    counts, edges = np.histogram(first.lengths, bins=_edges(first.lengths))
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        bar = _bar(count / max(counts.max(), 1))
        yield Text.assemble(f"{int(low):>7,} to {int(high) - 1:<7,} ", (f"{bar:<{BAR}}", "cyan"), f" {count:,}")
    for part in parts:
        median, high = np.quantile(part.lengths, (0.5, 0.95))
        line = f"  {part.split}: median {median:.0f}, 95 % up to {high:.0f}, longest {part.lengths.max():,}"
        if len(part.lengths) < part.rows:
            line += f" (of {len(part.lengths):,} rows)"
        yield Text(line)
        if part.over_limit:
            told = f"  {part.over_limit:.1%} of them are longer than {part.ruler.limit_key}={part.ruler.limit}"
            yield Text(told, style="yellow")


def _edges(lengths: Any) -> Any:
    """At most ``BINS`` bins of one whole width over all lengths."""
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high - low + 1) // BINS)
    return np.arange(low, high + width + 1, width)


def _bar(share: float) -> str:
    """A bar of ``share`` of the full width; what is not nothing shows."""
    return "█" * max(round(share * BAR), int(share > 0))


def _odd(summary: Summary) -> Iterator[Text]:
    yield Text("\nLeaks, rows left out, contradictions", style="bold")
    lines = [leak.message() for leak in summary.leaks]
    for split, reasons in summary.left_out.items():
        lines += [f"left out of {split}: {count:,} x {reason}" for reason, count in reasons.most_common(5)]
    for part in summary.parts:
        if part.contradicting:
            what = "labels" if part.kind == "labelled" else "orders"
            lines.append(
                f"{part.contradicting:,} {KIND_WORDS[part.kind]} ({part.split}) have the same texts and other {what}"
            )
    for line in lines:
        yield Text(f"  {line}", style="yellow")
    if not lines:
        yield Text("  none")


def _sample(row: Any, constraints: Sequence[str]) -> Iterator[Text]:
    yield _line("prompt", prompt_text(row.prompt))
    if isinstance(row, PreferenceRow):
        yield _line("chosen", row.chosen)
        yield _line("rejected", row.rejected)
    elif isinstance(row, DemonstrationRow):
        yield _line("response", row.response)
    elif isinstance(row, LabelledRow):
        unsafe = [name for name, label in zip(constraints, row.unsafe, strict=True) if label > 0.5]
        yield _line("response", row.response)
        yield _line("label", f"Unsafe ({', '.join(unsafe)})" if unsafe else "Safe")
    yield Text("")


def _line(title: str, content: str) -> Text:
    """One line, its end cut off where it does not fit."""
    line = Text.assemble((f"{title:>10}  ", "dim"), " ".join(content.split()))
    line.truncate(WIDTH, overflow="ellipsis")
    return line
