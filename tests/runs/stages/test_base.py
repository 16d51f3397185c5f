"""What a stage declares reaches the configuration, whoever composes it, and is found again from a result's record."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs.stages.base import Stage, declaration, made_by


def load(*words: str) -> DictConfig:
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        return compose("train", overrides=list(words))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stage=ppo"], (None, "min", True, "iteration", ["fit"])),
        (
            ["stage=reward"],
            ("validation/pair_accuracy", "max", False, "trainer/global_step", ["fit", "validate", "test"]),
        ),
        (
            ["stage=sft", "stage.monitor=validation/token_accuracy", "stage.mode=max", "stage.steps=[fit]"],
            ("validation/token_accuracy", "max", False, "trainer/global_step", ["fit"]),
        ),
    ],
)
def test_callbacks_trainer_and_logger_take_what_the_stage_declares_or_the_user_says(
    words: list[str], expected: tuple[Any, ...]
) -> None:
    cfg = load(*words, "trainer=ddp", "logger=wandb")
    checkpoint, strategy = cfg.callbacks.checkpoint, cfg.trainer.strategy
    found = (checkpoint.monitor, checkpoint.mode, strategy.find_unused_parameters, cfg.logger.wandb.step_metric)
    assert (*found, list(cfg.stage.steps)) == expected


def test_a_result_s_stage_is_found_by_its_declaration_or_its_name() -> None:
    cost = declaration("csrlhf.runs.stages.cost.STAGE")
    assert made_by("mine", {"stage": {"name": "mine", "declaration": "csrlhf.runs.stages.cost.STAGE"}}) is cost
    assert made_by("cost", {}) is cost  # a record that names none
    assert made_by("somebody/model", {}).reads == Stage().reads == {}
    with pytest.raises(UserError, match=r"^stage\.declaration=gone\.STAGE: No module named 'gone'; name a Stage"):
        made_by("mine", {"stage": {"declaration": "gone.STAGE"}})
