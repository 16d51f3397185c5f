from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from csrlhf.callbacks.progress import PlainLines, RichStageBar, progress_bar, shown


def test_metrics_are_chosen_shortened_and_ordered() -> None:
    metrics = {"train/loss": 1.0, "constraint/harm/cost": 0.25, "other": 3.0}
    assert list(shown(metrics, ["constraint/*/cost", "train/loss"]).items()) == [("cost", 0.25), ("loss", 1.0)]


@pytest.mark.parametrize(("terminal", "kind"), [(True, RichStageBar), (False, PlainLines)])
def test_a_terminal_gets_a_bar_and_a_log_lines(monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: type) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert type(progress_bar("sft", [])) is kind


def test_lines_are_rare_and_the_last_always_comes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines("ppo", ["train/reward"], every=3600.0)
    trainer = SimpleNamespace(
        num_training_batches=5, max_epochs=2, current_epoch=0, callback_metrics={"train/reward": 1.23456}
    )
    for epoch in range(2):
        trainer.current_epoch = epoch
        for batch in range(5):
            lines.on_train_batch_end(cast(Any, trainer), cast(Any, None), None, None, batch)
    assert capsys.readouterr().out.splitlines() == ["ppo  1/10  reward 1.23", "ppo  10/10  reward 1.23"]
    lines.disable()
    lines.on_train_batch_end(cast(Any, trainer), cast(Any, None), None, None, 4)
    assert capsys.readouterr().out == ""
