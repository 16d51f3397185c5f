"""A headless chromium, driven by Playwright: for the tests of pages and for the pictures of them in ``docs/``.

Playwright's own download of a browser is not needed: it drives the one that this machine has.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"needs one of {', '.join(PROGRAMS)} on the path (Debian, Ubuntu: apt-get install chromium)"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It asks no network, and runs as root and in containers."""


def find_chromium() -> str | None:
    """The path of a chromium, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """A started browser; pages opened in it see only what they are given.

    While it runs, this thread has a running event loop (Playwright's), so that ``asyncio.run`` is refused.

    Args:
        program: its path.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()
