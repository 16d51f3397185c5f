"""Progress where the output is no terminal: a real trainer's lines, their width, and nothing but text."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import lightning
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from csrlhf.tracking.plain_lines import PlainLines, plain
from csrlhf.tracking.progress_state import Progress

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


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


numbers = st.floats(allow_nan=True, allow_infinity=True)


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
