"""Headless chromium, spoken to through a pipe: for the tests of pages and for the pictures of them in ``docs/``.

One start serves many pages. What is asked runs in the page itself, beside its Content-Security-Policy, so the page that
is looked at is the one that readers open, byte for byte.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
"""It shows no window, asks no network and keeps nothing."""

HAND_OVER = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads file 3 and writes file 4: puts the pipes' ends there (out of the way first) and becomes chromium."""

PATIENCE = 120.0
"""Seconds to wait for an answer; a busy machine needs ten for the start."""


def find_chromium() -> str | None:
    """The path of a chromium, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """A chromium; ``with`` ends it.

    Args:
        program: its path.
        profile: a new folder for what it writes.
    """

    def __init__(self, program: str, profile: Path) -> None:
        here_in, its_out = os.pipe()
        its_in, here_out = os.pipe()
        words = [sys.executable, "-I", "-c", HAND_OVER, str(its_in), str(its_out), program, *QUIET]
        words += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            words, pass_fds=(its_in, its_out), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (its_in, its_out):
            os.close(end)
        self._in, self._out = here_in, here_out
        self._bytes = b""
        self._last = 0
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, page: Path, width: int = 1200, height: int = 900, javascript: bool = True, **media: str) -> Tab:
        """Opens a page and waits until it is loaded.

        Args:
            page: the file.
            width: of the window in pixels.
            height: of the window in pixels.
            javascript: whether the page's own programs run.
            **media: what the system prefers, e.g. ``prefers_color_scheme="dark"``; ``media="print"`` is paper.
        """
        tab = Tab(self)
        kind = media.pop("media", "")
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        tab.ask("Emulation.setEmulatedMedia", media=kind, features=features)
        tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        tab.ask("Emulation.setScriptExecutionDisabled", value=not javascript)
        tab.load(page)
        return tab

    def ask(self, method: str, session: str | None = None, **words: Any) -> dict[str, Any]:
        """Calls a method of the DevTools protocol and returns its result.

        Raises:
            RuntimeError: chromium refuses it, or has ended.
            TimeoutError: it did not answer.
        """
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": words} | ({"sessionId": session} if session else {})
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._out, rest) :]
        answer = self.wait(lambda event: event.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"chromium refuses {method}: {answer['error']}")
        return answer["result"]

    def wait(self, fits: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """Reads messages, hands each to the listeners, and returns the first that fits."""
        while True:
            message = self._read()
            for listener in self._listeners:
                listener(message)
            if fits(message):
                return message

    def listen(self, listener: Callable[[Mapping[str, Any]], None]) -> None:
        """Hands every message from now on to a function."""
        self._listeners.append(listener)

    def _read(self) -> Mapping[str, Any]:
        while b"\0" not in self._bytes:
            if not select.select([self._in], [], [], PATIENCE)[0]:
                raise TimeoutError(f"chromium has said nothing for {PATIENCE:.0f} seconds")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError(f"chromium has ended (code {self._process.poll()})")
            self._bytes += part
        message, _, self._bytes = self._bytes.partition(b"\0")
        return json.loads(message)


class Tab:
    """A page in a browser.

    Attributes:
        errors: what the page's programs raised, and what its policy forbade.
        requests: addresses that it asked for, its own first.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._target = target
        self.errors: list[str] = []
        self.requests: list[str] = []
        browser.listen(self._hear)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **words: Any) -> dict[str, Any]:
        """Calls a method of the DevTools protocol for this page."""
        return self._browser.ask(method, self._session, **words)

    def load(self, page: Path) -> None:
        """Opens another page and waits until it is loaded."""
        self.ask("Page.navigate", url=page.resolve().as_uri())
        self._browser.wait(
            lambda event: event.get("method") == "Page.loadEventFired" and event.get("sessionId") == self._session
        )

    def run(self, program: str) -> Any:
        """Runs the body of a function in the page and returns what it returns.

        Raises:
            RuntimeError: it raised.
        """
        answer = self.ask("Runtime.evaluate", expression=f"(() => {{ {program} }})()", returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"in the page: {answer['exceptionDetails']['exception']['description']}")
        return answer["result"].get("value")

    def picture(self, path: Path, height: int | None = None) -> None:
        """Writes what the window shows as PNG, or the page from its top down to ``height``."""
        words: dict[str, Any] = {}
        if height is not None:
            width = self.run("return innerWidth")
            words = {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}}
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=height is not None, **words)["data"]
        path.write_bytes(b64decode(data))

    def paper(self) -> bytes:
        """The page as PDF."""
        return b64decode(self.ask("Page.printToPDF", printBackground=False)["data"])

    def close(self) -> None:
        """Closes it."""
        self._browser.ask("Target.closeTarget", targetId=self._target)

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event.get("sessionId") != self._session:
            return
        words = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = words["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event.get("method") == "Log.entryAdded" and words["entry"]["level"] in ("error", "warning"):
            self.errors.append(words["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(words["request"]["url"])
