"""The terminal's console: what it is handed is text, and never markup; and what models write steers no terminal.

A category, a policy's name or a path may hold ``[bold]`` or ``:smile:``; rich would style the first, fail on a
``[/red]`` without its beginning, and replace the last. Styles are given as ``Text`` or as an argument ``style``.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """A console that shows words as they stand: no markup, no emoji codes, no colours that nobody asked for.

    Args:
        **options: those of rich's ``Console``.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)


BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Characters that turn the direction of the text behind them."""


def printable(text: str, mark: str = "") -> str:
    """Without control characters: what a model writes must not move the cursor, turn the line or set a window's title.

    Args:
        text: an answer, or a prompt.
        mark: what stands in the place of each.
    """

    def steers(char: str) -> bool:
        return unicodedata.category(char) in ("Cc", "Cs") or unicodedata.bidirectional(char) in BIDI

    return "".join(mark if steers(char) and char not in "\n\t" else char for char in text)
