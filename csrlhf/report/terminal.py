"""Blocks on the terminal: the tables and words of the page, in the columns that there are.

Leaves figures and dialogues to the page. What a block holds is data and never markup (``csrlhf/terminal.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text as Line

from csrlhf.report.blocks import Block, Cards, Certificate, KeyValues, Section, Text, Tone
from csrlhf.report.numbers import Words
from csrlhf.report.tables import Matrix, Table
from csrlhf.terminal import plain_console

STYLES: Mapping[Tone, str] = {"good": "bold green", "warn": "yellow", "bad": "bold red", "neutral": ""}


def print_blocks(blocks: Sequence[Block], console: Console | None = None) -> None:
    """Print blocks one below the other (plain where there is no terminal, or with NO_COLOR).

    Args:
        blocks: of a report; figures and dialogues are passed over.
        console: where to; the terminal where none is given.
    """
    console = console or plain_console()
    for block in blocks:
        for part in _parts(block, console):
            console.print(part)


def _parts(block: Block, console: Console) -> Iterator[RenderableType]:
    if isinstance(block, Section):
        inside = [part for one in block.blocks for part in _parts(one, console)]
        yield from [Line(f"\n{block.title}", style="bold"), *inside] if inside else ()
    elif isinstance(block, Text):
        yield from (Line(words, style=STYLES[block.tone]) for words in block.paragraphs)
    elif isinstance(block, Cards):
        for card in block.cards:
            note = f" ({card.note})" if card.note else ""
            yield Line(f"{card.label}: {card.words}{note}", style=STYLES[card.tone])
    elif isinstance(block, Certificate):
        yield Line(f"{block.verdict}: {block.claim}", style=STYLES[block.tone])
        yield from (Line(f"{name}: {words}") for name, words in block.rows)
        yield from map(Line, block.reasons)
    elif isinstance(block, KeyValues):
        yield from (Line(f"{name}: {words}") for name, words in block.rows)
    elif isinstance(block, Matrix):
        rows = [[name, *(cell.words for cell in row)] for name, row in zip(block.rows, block.cells, strict=True)]
        yield _grid([block.corner, *block.columns], rows, [False] + [True] * len(block.columns), block.caption)
    elif isinstance(block, Table):
        yield _table(block, console)


def _table(table: Table, console: Console) -> Grid:
    """The table with its words in full where they fit; else with the short ones of cells that have any."""
    full = [[cell.words for cell in row] for row in table.cells]
    made = _grid(table.columns, full, table.right, table.caption, table.marked)
    boundless = console.options.update(max_width=10**6)
    if Measurement.get(console, boundless, made).maximum <= console.width:
        return made
    pairs = zip(table.rows, full, strict=True)
    short = [[_short(value, words) for value, words in zip(*row, strict=True)] for row in pairs]
    return _grid(table.columns, short, table.right, _short(table.caption, table.caption), table.marked, narrow=True)


def _short(value: Any, words: str) -> str:
    return value.short if isinstance(value, Words) else words


def _grid(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool],
    caption: str,
    marked: Sequence[int] = (),
    narrow: bool = False,
) -> Grid:
    """A table of rich; a ``narrow`` one breaks the heads of numbers at every word, so that names keep their room."""
    made = Grid(title=caption or None, title_justify="left", header_style="bold")
    for place, (column, number) in enumerate(zip(columns, right, strict=True)):
        most = max(map(cell_len, [*column.split(), *(row[place] for row in rows)]), default=0)
        justify, limit = ("right", most if narrow else None) if number else ("left", None)
        made.add_column(column, justify=justify, max_width=limit, overflow="fold")
    for place, row in enumerate(rows):
        made.add_row(*row, style="bold" if place in marked else None)
    return made
