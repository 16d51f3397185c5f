"""Which display of progress is chosen; the bar of a terminal, one line that never wraps, keeps its length, and has no
colour where none is wanted; and where the output is no terminal, a real trainer's lines and nothing but text."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import lightning
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from csrlhf.tracking.display import LiveBar, PlainLines, bar_line, plain, progress_bar, train_steps
from csrlhf.tracking.progress import Progress

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data

PPO = {"reward": -0.41549, "cost": 0.015625, "gate": 0.291, "kl": 0.6293}
numbers = st.floats(allow_nan=True, allow_infinity=True)


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


@pytest.mark.parametrize(
    ("batches", "epochs", "max_steps", "accumulate", "iterations", "total"),
    [
        (40, 3, -1, 1, None, 120),
        (40, 3, 20, 1, None, 20),  # optimiser steps end the run first
        (40, 3, 20, 4, None, 80),  # one of them takes four batches
        (5, 25, -1, 1, 123, 123),  # the last epoch of PPO is shorter
        (float("inf"), 3, -1, 1, None, None),
        (40, -1, -1, 1, None, None),
    ],
)
def test_steps_are_counted_over_the_whole_run(
    batches: float, epochs: int, max_steps: int, accumulate: int, iterations: int | None, total: int | None
) -> None:
    trainer = SimpleNamespace(
        num_training_batches=batches,
        max_epochs=epochs,
        max_steps=max_steps,
        accumulate_grad_batches=accumulate,
        datamodule=SimpleNamespace(iterations=iterations),
    )
    assert train_steps(cast(Any, trainer)) == total


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


class Loop(lightning.LightningModule):
    """Four batches an epoch; prints in the hooks that our modules print their tables in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.layer(batch).pow(2).mean()
        self.log("train/loss", loss.detach() * 0 + 0.5)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("validation/loss", 0.25)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test/loss", 0.25)

    def on_test_epoch_end(self) -> None:
        print("the table")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(tiny: ModuleType, root: Path, bar: PlainLines, **options: object) -> None:
    trainer = tiny.trainer(root, callbacks=[bar], enable_progress_bar=True, **options)
    module, loader = Loop(), DataLoader(torch.ones(4, 1), batch_size=1)
    trainer.fit(module, loader, loader)
    trainer.test(module, loader, verbose=False)


def test_every_step_of_every_loop_can_be_a_line(
    tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny, tmp_path, PlainLines("sft", ["train/loss"], every=0.0), max_epochs=2)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    steps = [line[1] for line in lines if line[0] == "sft" and "loss 0.500" in line]
    assert list(dict.fromkeys(steps)) == [f"{done}/8" for done in range(1, 9)]  # over both epochs
    notes = [line[-1] for line in lines if line[-1].startswith("validating")]
    assert notes == [f"validating {done}/4" for done in range(5)] * 2
    assert [line[1] for line in lines if line[0] == "sft test"] == ["1/4", "2/4", "3/4", "4/4"]
    assert lines[-1] == ["the table"]
    assert any(line[2].endswith(" left") for line in lines if len(line) > 2)


def test_lines_are_rare_and_the_last_step_of_training_always_comes(
    tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny, tmp_path, PlainLines("sft", ["train/loss"], every=3600.0), max_epochs=2)
    assert capsys.readouterr().out.splitlines() == ["sft  8/8  loss 0.500", "the table"]


def test_other_processes_print_nothing(tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bar = PlainLines("sft", ["train/loss"], every=0.0)
    bar.disable()
    run(tiny, tmp_path, bar, max_epochs=1)
    assert capsys.readouterr().out.splitlines() == ["the table"]


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.dictionaries(st.text("abcdefgh ", min_size=1, max_size=20), numbers, max_size=8),
    st.floats(0, 1e7),
)
def test_no_line_is_wider_than_a_terminal(done: int, total: int, metrics: dict[str, float], seconds: float) -> None:
    line = plain(Progress("evaluate", total, done, metrics, started=0.0, stepped=seconds / 2), seconds)
    assert len(line) <= 80
    assert line.isprintable()


def test_the_last_line_of_training_has_the_metrics_though_validation_came_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar, progress = PlainLines("ppo", [], every=0.0), Progress("ppo", 4, 4, {"reward": 0.5}, note="validating 1/1")
    bar.draw(progress)
    progress.note = ""
    bar.close(progress)
    assert capsys.readouterr().out.splitlines()[-1] == "ppo  4/4  reward 0.500"
