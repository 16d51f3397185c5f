"""One self-contained page that shows a result to a colleague, and its figures as pictures.

Evaluate, certify, sweep and compare write one each. It stands behind them: it is handed numbers and words and computes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrlhf.errors import writing
from csrlhf.report.blocks import Block, Section, check_block
from csrlhf.report.figures import Figure
from csrlhf.report.page import render
from csrlhf.report.tables import Matrix, Table
from csrlhf.runs.artifacts import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


class Report:
    """Blocks below a title.

    Args:
        title: what the page is about.
        subtitle: on what: data, counts, the day.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self.blocks: list[Block] = []

    def add(self, block: Block) -> None:
        """Puts a block at the end.

        Raises:
            TypeError: it is no block.
            ValueError: a figure has the name of another one.
        """
        check_block(block)
        names = [figure.name for figure in [*self._figures(), *figures_of([block])]]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"report {self.title!r}: two figures are named {twice!r}")
        self.blocks.append(block)

    def html(self) -> str:
        """The page."""
        return render(self.title, self.subtitle, self.blocks)

    def write(self, path: Path) -> Path:
        """Writes the page; what stood there stays until the new one is whole.

        Returns:
            The path.
        """
        html = self.html()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, html.encode())
        return path

    def figures(self) -> dict[str, MatplotlibFigure]:
        """Every figure by its name, in the light style."""
        return {figure.name: figure.make() for figure in self._figures()}

    def save_figures(self, folder: Path) -> list[Path]:
        """Writes every figure as ``<name>.png``.

        Returns:
            The files written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, figure in self.figures().items():
            written.append(folder / f"{name}.png")
            with writing(written[-1]):
                figure.savefig(written[-1], dpi=150, metadata={"Software": None})
        return written

    def tables(self) -> dict[str, tuple[list[str], list[list[Any]]]]:
        """Columns and rows of every table and matrix by its key, as trackers take them.

        Keys that are alike are numbered: ``rates``, ``rates_2``.
        """
        found: dict[str, tuple[list[str], list[list[Any]]]] = {}
        for block in flat(self.blocks):
            if isinstance(block, Table | Matrix):
                keys = chain([block.key], (f"{block.key}_{number}" for number in count(2)))
                found[next(key for key in keys if key not in found)] = block.plain
        return found

    def _figures(self) -> list[Figure]:
        return figures_of(self.blocks)


def figures_of(blocks: Sequence[Block]) -> list[Figure]:
    """The figures among blocks and in their sections."""
    return [block for block in flat(blocks) if isinstance(block, Figure)]


def flat(blocks: Sequence[Block]) -> Iterator[Block]:
    """Blocks, and those in sections, in the order of the page."""
    for block in blocks:
        yield block
        if isinstance(block, Section):
            yield from flat(block.blocks)
