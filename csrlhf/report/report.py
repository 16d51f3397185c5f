"""One self-contained page that shows a result to a colleague, and its figures as pictures.

Evaluate, certify, sweep and compare write one each. It stands behind them: it is handed numbers and words and computes
nothing. The page is jinja2 with autoescape, style and program inline, and a policy that allows only these.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from csrlhf.errors import writing
from csrlhf.report.blocks import Block, Section, check_block
from csrlhf.report.figures import Figure
from csrlhf.report.tables import Matrix, Table
from csrlhf.runs.artifacts import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

ASSETS = Path(__file__).parent / "assets"
SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of a character: decoders may leave them in an answer, UTF-8 cannot hold them."""


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


# From blocks to HTML.


@dataclass(frozen=True)
class Heading:
    """An entry of the contents."""

    title: str
    anchor: str


class Page:
    """What the template asks for beside the blocks."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks
        self._anchors = _anchors([block.title for block in _titled(blocks)])
        self._next = iter(self._anchors)
        self._number = 0

    @property
    def contents(self) -> list[Heading]:
        """The headings of the first level."""
        titles = [block.title for block in _titled(self.blocks)]
        top = {id(block) for block in self.blocks}
        pairs = zip(_titled(self.blocks), titles, self._anchors, strict=True)
        return [Heading(title, anchor) for block, title, anchor in pairs if id(block) in top]

    def anchor(self) -> str:
        """The next heading's id: headings ask in the order they stand in."""
        return next(self._next)

    def number(self) -> int:
        """A number for an id, another one each time."""
        self._number += 1
        return self._number

    def groups(self, blocks: Sequence[Block]) -> Iterator[list[Block]]:
        """Blocks one by one, but figures that follow each other together: they stand side by side."""
        group: list[Block] = []
        for block in blocks:
            if group and not (isinstance(block, Figure) and isinstance(group[-1], Figure)):
                yield group
                group = []
            group.append(block)
        if group:
            yield group


def render(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """The whole page; the same text for the same input."""
    style, script = _asset("page.css"), _asset("page.js")
    html = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            page=Page(blocks),
            style=Markup(style),
            script=Markup(script),
            policy=Markup(_policy(style, script)),
        )
    )
    return SURROGATES.sub("\ufffd", html)


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, nothing is sent, only our own style and program count."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _titled(blocks: Sequence[Block]) -> list[Any]:
    """Blocks with a heading, in the order of the page."""
    found = []
    for block in blocks:
        if getattr(block, "title", ""):
            found.append(block)
        if isinstance(block, Section):
            found += _titled(block.blocks)
    return found


def _anchors(titles: Sequence[str]) -> list[str]:
    """Ids of headings: their words, numbered where two are alike."""
    used: dict[str, int] = {}
    anchors = []
    for title in titles:
        word = "-".join(re.findall(r"[a-z0-9]+", title.lower())) or "section"
        used[word] = used.get(word, 0) + 1
        anchors.append(f"s-{word}" if used[word] == 1 else f"s-{word}--{used[word]}")
    return anchors
