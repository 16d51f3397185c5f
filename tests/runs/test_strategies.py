"""Strategies: those that are compared with one process may train, every other one is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from csrlhf.config.contracts import DDP, NAMES, OPTIONS, check_strategy
from csrlhf.errors import UserError

MODEL_PARALLEL = "lightning.pytorch.strategies.ModelParallelStrategy"


@pytest.mark.parametrize("name", sorted({*StrategyRegistry.available_strategies()} - {*NAMES}))
def test_names_that_were_never_compared_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"trainer\.strategy={name}: nobody has compared .* take trainer=ddp"):
        check_strategy(name)


def test_names_that_pass_are_ddp_in_processes_of_their_own() -> None:
    for name in NAMES:
        check_strategy(name)
        if name != "auto":
            options = dict(StrategyRegistry[name]["init_params"])
            assert StrategyRegistry[name]["strategy"] is DDPStrategy
            assert options.pop("start_method") == "popen"
            assert options.keys() <= OPTIONS.keys()


@pytest.mark.parametrize("target", DDP)
def test_ddp_with_options_that_change_no_result(target: str) -> None:
    check_strategy({"_target_": target, "find_unused_parameters": True, "process_group_backend": "gloo"})


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"_target_": MODEL_PARALLEL}, rf"trainer\.strategy={MODEL_PARALLEL}: nobody"),
        ({"_target_": "my_package.MyDDP"}, r"trainer\.strategy=my_package\.MyDDP: nobody"),
        ({"find_unused_parameters": True}, r"trainer\.strategy=None: nobody"),
        ({"_target_": DDP[0], "model_averaging_period": 8}, r"trainer\.strategy\.model_averaging_period: nobody"),
        ({"_target_": DDP[0], "start_method": "spawn"}, r"trainer\.strategy\.start_method: nobody"),
        (None, r"trainer\.strategy=None: nobody"),
    ],
)
def test_objects_that_were_never_compared_are_refused(strategy: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_strategy(strategy)


@pytest.mark.parametrize("words", [[f"+trainer.strategy._target_={MODEL_PARALLEL}"], ["+trainer.strategy=deepspeed"]])
def test_a_stage_refuses_it_in_one_line_and_touches_nothing(
    command_line: Callable, tmp_path: Path, words: list[str]
) -> None:
    outcome = command_line("stage=sft", f"artifacts={tmp_path / 'a'}", "trainer.devices=2", "logger=none", *words)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: trainer.strategy={words[0].partition('=')[2]}: nobody has compared")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_a_pipeline_refuses_a_later_stage_s_before_the_first_one(command_line: Callable, tmp_path: Path) -> None:
    later = f"pipeline.ppo={json.dumps(['+trainer.strategy=fsdp'])}"
    outcome = command_line(f"artifacts={tmp_path / 'a'}", "logger=none", later)
    assert outcome.code == 1
    assert "error: trainer.strategy=fsdp: nobody has compared" in outcome.err
    assert not (tmp_path / "a").exists()
