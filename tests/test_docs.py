"""The documentation as a site: every page in the navigation once, and a strict build that needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PARTS = {"Tutorials": "tutorials", "How-to": "how-to", "Reference": "reference", "Explanation": "explanation"}


def navigation() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def leaves(node: Any) -> Iterator[str]:
    """The pages of a part of the navigation."""
    if isinstance(node, str):
        yield node
    else:
        for child in node.values() if isinstance(node, dict) else node:
            yield from leaves(child)


def test_every_page_is_in_the_navigation_once() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert Counter(leaves(navigation())) == Counter(pages)


def test_every_part_holds_the_pages_of_its_folder() -> None:
    home, *parts = navigation()
    assert list(leaves(home)) == ["index.md"]
    assert [name for part in parts for name in part] == list(PARTS)
    for part in parts:
        for name, pages in part.items():
            assert {page.partition("/")[0] for page in leaves(pages)} == {PARTS[name]}


def test_no_page_is_reached_by_a_link_that_only_the_site_or_only_the_repository_knows() -> None:
    """Pages link to files, relative to themselves; tests/test_readme.py holds that each of them exists."""
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert not target.startswith("/"), f"{page.name}: {target}"
            assert ".html" not in target or target.startswith("https:"), f"{page.name}: {target}"


@pytest.mark.full  # 10 to 20 s
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in leaves(navigation()):
        assert (tmp_path / page).with_suffix(".html").is_file(), page
    reference = (tmp_path / "reference/python/penalties.html").read_text(encoding="utf-8")
    assert 'id="csrlhf.penalties.Rectified"' in reference
    assert (tmp_path / "source/csrlhf/penalties/rectified.py.html").is_file()
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"'\s>]+", text)
        assert not loaded, f"{page.name}: {loaded}"
