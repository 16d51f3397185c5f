"""Headless chromium as a process that answers through a pipe: the DevTools protocol, and nothing of what a page is."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_GET_ONE = f"none of {', '.join(PROGRAMS)} is on the path; install one, e.g. apt-get install chromium"
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


class Chromium:
    """A process and its messages; ``with`` ends it.

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

    def __enter__(self) -> Self:
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
