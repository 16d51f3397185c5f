"""A report with every kind of block, its page parsed, and a browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

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
    report.add(Certificate("REFUSED", HOSTILE, {HOSTILE: HOSTILE, "bound": 0.021}, [HOSTILE]))
    report.add(Dialogues([*dialogues(50), Dialogue(HOSTILE, HOSTILE * 100, {HOSTILE: HOSTILE})], HOSTILE, note=HOSTILE))
    report.add(KeyValues("Provenance", {HOSTILE: HOSTILE, "hash": "ab" * 32}))
    return report


class Browser:
    """Headless chromium: opens a page with a program of the test's own in it, and returns what that program says.

    Args:
        program: the path of chromium.
        folder: for pages and profiles.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder

    def run(self, html: str, program: str, width: int | None = None, dark: bool = False) -> dict[str, Any]:
        """Runs ``program``, the body of a function that returns JSON, when the page is loaded.

        Args:
            html: the page.
            program: JavaScript; errors of the page until then are in ``errors``.
            width: of the window, 1200 pixels where it is None.
            dark: whether the system prefers dark colours.

        Returns:
            The answer, with ``errors`` and ``log`` added: what the page raised and what chromium said on its console.
        """
        collector = (
            "window.errors = [];"
            "addEventListener('error', (event) => errors.push(String(event.message || event.target.outerHTML)), true);"
            "addEventListener('securitypolicyviolation', (event) => errors.push('policy: ' + event.violatedDirective));"
        )
        reporter = (
            "addEventListener('load', () => { let answer;"
            f"try {{ answer = (() => {{ {program} }})(); }} catch (error) {{ answer = {{ raised: String(error) }}; }}"
            "parent.postMessage(JSON.stringify({ ...answer, errors }), '*'); });"
        )
        page = allow(html, collector, reporter)
        page = page.replace("<title>", f"<script>{collector}</script><title>", 1)
        page = page.replace("</body>", f"<script>{reporter}</script></body>", 1)
        (self.folder / "page.html").write_text(page, encoding="utf-8")
        # In a frame, because a window of chromium may have a least width.
        frame = self.folder / "frame.html"
        frame.write_text(
            "<!doctype html><meta charset=utf-8><pre id=answer></pre><script>"
            "addEventListener('message', (event) => { document.getElementById('answer').textContent = event.data; });"
            f"</script><iframe src=page.html width={width or 1200} height=2000 style='border:0'></iframe>",
            encoding="utf-8",
        )
        words = ["--dump-dom", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=8000"]
        if dark:
            words += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        done = self.call(*words, frame.as_uri())
        answer = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
        assert answer, f"no answer from the page: {done.stderr[-2000:]}"
        log = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return json.loads(parse(answer[0]).text) | {"log": log}

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Starts chromium, which asks no network, with a profile of its own."""
        quiet = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            f"--user-data-dir={self.folder / 'profile'}",
        ]
        return subprocess.run(
            [self.program, *quiet, *words], capture_output=True, text=True, timeout=200, check=True, errors="replace"
        )


def allow(html: str, *programs: str) -> str:
    """The page with these programs allowed by its policy as well."""
    digests = [f"'sha256-{b64encode(sha256(program.encode()).digest()).decode()}'" for program in programs]
    old = re.search(r"script-src ([^;]+);", html)
    assert old
    return html.replace(old[0], f"script-src {old[1]} {' '.join(digests)};", 1)


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on the path: the page is not looked at in a browser")
    return Browser(found, tmp_path)
