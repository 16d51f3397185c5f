"""The terminal's console: what it is handed is text, and never markup.

A category, a policy's name or a path may hold ``[bold]`` or ``:smile:``; rich would style the first, fail on a
``[/red]`` without its beginning, and replace the last. Styles are given as ``Text`` or as an argument ``style``.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """A console that shows words as they stand: no markup, no emoji codes, no colours that nobody asked for.

    Args:
        **options: those of rich's ``Console``.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)
