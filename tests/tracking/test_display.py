"""Which display of progress is chosen."""

from __future__ import annotations

import sys

import pytest

from csrlhf.tracking.display import progress_bar
from csrlhf.tracking.live_bar import LiveBar
from csrlhf.tracking.plain_lines import PlainLines


@pytest.mark.parametrize(
    ("terminal", "term", "kind"), [(True, "xterm", LiveBar), (True, "dumb", PlainLines), (False, "xterm", PlainLines)]
)
def test_a_terminal_gets_a_bar_and_a_log_lines(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str, kind: type
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", term)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert type(progress_bar("sft", [])) is kind
