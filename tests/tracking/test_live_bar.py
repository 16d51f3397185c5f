"""The bar of a terminal: one line that never wraps, keeps its length, and has no colour where none is wanted."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from csrlhf.tracking.live_bar import LiveBar, bar_line
from csrlhf.tracking.progress_state import Progress

PPO = {"reward": -0.41549, "cost": 0.015625, "gate": 0.291, "kl": 0.6293}


def test_the_line_of_ppo_in_80_columns() -> None:
    line = bar_line(Progress("ppo", 120, 60, PPO, started=0.0, stepped=90.0), now=90.0, width=79).plain
    assert line == "ppo ━━━━────  60/120  1:30<1:30  reward -0.42  cost 0.016  gate 0.291  kl 0.629"


def test_a_finished_line_is_full_and_green() -> None:
    line = bar_line(Progress("sft", 10, 10, {"loss": 1.0}, started=0.0, stepped=65.0), now=65.0, width=79)
    assert line.plain == f"sft {'━' * 24} 10/10  1:05<0:00  loss 1.000"
    assert "green" in {str(span.style) for span in line.spans}


def test_a_note_takes_the_place_of_the_metrics_and_leaves_the_bar_where_it_is() -> None:
    progress = Progress("ppo", 120, 60, PPO, started=0.0, stepped=90.0)
    before = bar_line(progress, 90.0, 79).plain
    progress.note = "validating 2/4"
    during = bar_line(progress, 90.0, 79).plain
    assert during == before[: before.index("  reward")] + "  validating 2/4"


def test_an_ascii_terminal_gets_ascii() -> None:
    assert bar_line(Progress("sft", 10, 5, started=0.0), 1.0, 79, ascii_only=True).plain.isascii()


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.integers(0, 10**6),
    st.one_of(st.none(), st.integers(1, 10**6)),
    st.dictionaries(st.text("abcdefgh ", min_size=1, max_size=20), numbers, max_size=8),
    st.floats(0, 1e7),
    st.sampled_from(["", "validating 123/456"]),
    st.integers(20, 200),
)
def test_the_line_is_never_wider_than_the_terminal(
    done: int, total: int | None, metrics: dict[str, float], seconds: float, note: str, width: int
) -> None:
    line = bar_line(Progress("evaluate", total, done, metrics, note, started=0.0), seconds, width)
    assert line.cell_len <= width
    assert "\n" not in line.plain


def frames(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """All that a run of three steps writes to a terminal of 80 columns."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system="standard")
    bar = LiveBar("ppo", [], console)
    progress = Progress("ppo", 3, metrics=dict(PPO))
    bar.open(progress)
    for done in range(1, 4):
        progress.done = done
        assert bar._live is not None
        bar._live.refresh()
    bar.close(progress)
    return out.getvalue()


COLOUR = re.compile(r"\x1b\[[\d;]*?\b(3\d|9\d|38;5;\d+)[\d;]*m")


def test_colours_unless_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COLOUR.search(frames(False, monkeypatch))
    assert not COLOUR.search(frames(True, monkeypatch))


def test_every_frame_is_one_line_that_fits_and_the_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", frames(True, monkeypatch))
    drawn = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert max(map(len, drawn)) <= 80
    assert " 3/3 " in drawn[-1]
    assert all(line.startswith("ppo ") for line in drawn)
