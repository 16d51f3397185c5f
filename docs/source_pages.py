"""A hook of mkdocs: links to files outside ``docs/`` lead to pages that show these files.

In the repository such a link opens the file; the site gets a page ``source/<path>`` for each file that a page links to.
A link to a folder becomes its text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s#]+)\)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".md": "markdown"}


def on_files(files: Files, *, config: Any) -> Files:
    """Adds a page for each file of the repository that a page links to."""
    pages = [file for file in files.documentation_pages() if not file.src_uri.startswith("source/")]
    for page in pages:
        for _, target in LINK.findall(page.content_string):
            path = _outside(page.src_uri, target)
            if path is not None and path.is_file() and files.get_file_from_path(_shown_at(path)) is None:
                files.append(File.generated(config, _shown_at(path), content=_shown(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Points the links at those pages."""

    def pointed(found: re.Match[str]) -> str:
        path = _outside(page.file.src_uri, found[2])
        if path is None:
            return found[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: a link to {found[2]}, which does not exist")
        if path.is_dir():
            return found[1]
        return f"[{found[1]}]({os.path.relpath(_shown_at(path), os.path.dirname(page.file.src_uri))})"

    return LINK.sub(pointed, markdown)


def _outside(page: str, target: str) -> Path | None:
    """The file that a link of a page names, if it lies outside ``docs/``."""
    path = (ROOT / "docs" / page).parent.joinpath(target).resolve()
    return None if path.is_relative_to(ROOT / "docs") else path


def _shown_at(path: Path) -> str:
    return f"source/{path.relative_to(ROOT).as_posix()}.md"


def _shown(path: Path) -> str:
    name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    return (
        f"---\ntitle: {name}\nsearch: {{exclude: true}}\n---\n\n# `{name}`\n\n"
        f"~~~~~~{LANGUAGES.get(path.suffix, 'text')}\n{text}~~~~~~\n"
    )
