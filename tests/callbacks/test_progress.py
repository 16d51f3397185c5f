from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from csrlhf.callbacks.progress import PlainLines, RichStageBar, progress_bar, shown


def test_metrics_are_chosen_shortened_and_ordered() -> None:
    metrics = {"train/loss": 1.0, "constraint/harm/cost": 0.25, "other": 3.0}
    assert list(shown(metrics, ["constraint/*/cost", "train/loss"]).items()) == [("cost", 0.25), ("loss", 1.0)]


def test_metrics_that_share_a_word_keep_what_tells_them_apart() -> None:
    metrics = {"constraint/privacy/cost": 0.1, "constraint/harm/cost": 0.04, "penalty/harm/gate": 1.0, "policy/kl": 2.0}
    found = shown(metrics, ["constraint/*/cost", "penalty/*/gate", "policy/kl", "*/kl"])
    assert list(found.items()) == [("harm cost", 0.04), ("privacy cost", 0.1), ("gate", 1.0), ("kl", 2.0)]
    losses = shown({"train/loss": 1.0, "validation/loss": 2.0, "epoch": 3.0}, ["*/loss", "epoch"])
    assert losses == {"train loss": 1.0, "validation loss": 2.0, "epoch": 3.0}


def test_the_default_bar_shows_the_gate_of_one_constraint_and_of_two() -> None:
    conf = Path(__file__).parents[2] / "conf" / "callbacks" / "default.yaml"
    patterns = yaml.safe_load(conf.read_text(encoding="utf-8"))["progress"]["metrics"]
    assert shown({"penalty/gate": 0.5}, patterns) == {"gate": 0.5}
    two = {"penalty/harm/gate": 0.5, "penalty/privacy/gate": 0.0}
    assert shown(two, patterns) == {"harm gate": 0.5, "privacy gate": 0.0}


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
