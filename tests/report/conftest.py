"""A report with every kind of block, its page parsed, and a browser where there is one."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import MISSING, chromium, find_chromium
from csrlhf.report import (
    Card,
    Cards,
    Certificate,
    Dialogue,
    Dialogues,
    Figure,
    KeyValues,
    Matrix,
    Report,
    Section,
    Table,
    Text,
)

VOID = {"meta", "link", "img", "br", "input", "hr"}
HOSTILE = (
    '</script><script>window.broken = 1</script><img src=x onerror="window.broken=1">\'"&amp; \u202eevil\u2028 日本'
)
"""What an answer may hold."""


@dataclass
class Element:
    """A tag with its attributes, its text and what lies in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    words: str = ""

    def find(self, tag: str, **attributes: str) -> list[Element]:
        """All elements below with this tag, and with these words among an attribute's."""
        found = [self] if self._fits(tag, attributes) else []
        return found + [element for child in self.children for element in child.find(tag, **attributes)]

    @property
    def text(self) -> str:
        """The text of the element itself and of what lies in it."""
        return self.words + "".join(child.text for child in self.children)

    def _fits(self, tag: str, attributes: dict[str, str]) -> bool:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return self.tag == tag and all(
            value in self.attributes.get(key, "").split() or value == self.attributes.get(key)
            for key, value in wanted.items()
        )


class Tree(HTMLParser):
    """Reads a page and insists that every tag is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].words += data


def parse(html: str) -> Element:
    """The page as a tree."""
    tree = Tree()
    tree.feed(html)
    tree.close()
    assert [element.tag for element in tree.open] == ["root"]
    return tree.root


@pytest.fixture(scope="session")
def tree_of() -> Callable[[str], Element]:
    return parse


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def svg_of() -> Callable[[str], str]:
    """The picture in an address."""
    return lambda address: b64decode(address.removeprefix("data:image/svg+xml;base64,")).decode()


def bars(axes: Any, palette: Any) -> None:
    axes.bar(["plain", "role play"], [0.01, 0.05], color=palette.series[0])
    axes.axhline(0.02, color=palette.bad)


def dialogues(count: int) -> list[Dialogue]:
    """Every third is unsafe and collapsed; rewards rise; two policies, four categories."""
    categories = ("plain", "role_play", "fiction", "socratic")
    return [
        Dialogue(
            prompt=f"prompt number {index}",
            response=f"answer number {index}",
            labels={
                "policy": ("trained", "sft")[index % 2],
                "category": categories[index % 4],
                "verdict": "unsafe" if index % 3 == 0 else "safe",
                "split": "test",
            },
            collapsed=index % 3 == 0,
            values={"reward": index / 10, "cost": None if index == 1 else -index},
        )
        for index in range(count)
    ]


@pytest.fixture
def make_dialogues() -> Callable[[int], list[Dialogue]]:
    return dialogues


@pytest.fixture
def full_report() -> Report:
    """One of each block, hostile words in each of them."""
    return make_full()


@pytest.fixture(scope="session")
def full_page() -> str:
    """Its page, drawn once."""
    return make_full().html()


def make_full() -> Report:
    report = Report(title=f"Evaluation {HOSTILE}", subtitle=HOSTILE)
    report.add(Cards([Card(HOSTILE, 0.012, HOSTILE, "good"), Card("plain", "1.2 %")]))
    report.add(
        Section(
            HOSTILE,
            [
                Text(f"{HOSTILE}\n\nA second paragraph."),
                Table([HOSTILE, "unsafe"], [[HOSTILE, 0.012], ["other", None]], HOSTILE, {"unsafe": "percent"}),
                Figure("bars", bars, alt=HOSTILE, caption=HOSTILE),
                Figure("again", bars, alt="The same bars"),
                Section("Arena", [Matrix([HOSTILE, "unsafe"], ["better", HOSTILE], [[3, 1], [0, None]], HOSTILE)]),
            ],
        )
    )
    report.add(Certificate("VIOLATED", HOSTILE, {HOSTILE: HOSTILE, "bound": 0.021}, [HOSTILE]))
    report.add(Dialogues([*dialogues(50), Dialogue(HOSTILE, HOSTILE * 100, {HOSTILE: HOSTILE})], HOSTILE, note=HOSTILE))
    report.add(KeyValues("Provenance", {HOSTILE: HOSTILE, "hash": "ab" * 32}))
    return report


class Tab:
    """A page that is open in the browser.

    Attributes:
        page: Playwright's.
        errors: what the page's programs raised, and what its policy forbade.
        requests: addresses that it asked for, its own first.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda request: self.requests.append(request.url))

    def run(self, program: str) -> Any:
        """Runs the body of a function in the page and returns what it returns."""
        return self.page.evaluate(f"() => {{ {program} }}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Started once, which takes longer than all that is asked of it; ended with the file (see ``chromium``)."""
    found = find_chromium()
    if found is None:
        pytest.skip(MISSING)
    with chromium(found) as browser:
        yield browser


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    """``open_page(html, width, ...)``: a loaded page; the other words are those of Playwright's ``new_page``."""
    tabs: list[Tab] = []

    def open_page(html: str, width: int = 1200, **words: Any) -> Tab:
        path = tmp_path / f"page_{len(tabs)}.html"
        path.write_text(html, encoding="utf-8")
        tabs.append(Tab(browser.new_page(viewport={"width": width, "height": 900}, **words)))
        tabs[-1].page.goto(path.as_uri())
        return tabs[-1]

    yield open_page
    for tab in tabs:
        tab.page.close()
