"""A summary for people: tables, bars and samples that fit into 80 columns, plain where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from csrlhf.data.encoding import prompt_text
from csrlhf.data.source import KIND_WORDS, KINDS
from csrlhf.data.summary import Part, Summary
from csrlhf.report import Table, print_blocks
from csrlhf.terminal import plain_console
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow

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
