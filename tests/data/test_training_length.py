"""How long a stage trains: what a Trainer is refused for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from csrlhf.data.batching import require_training
from csrlhf.errors import UserError


def trainer(max_epochs: int | None, max_steps: int) -> Any:
    return SimpleNamespace(max_epochs=max_epochs, max_steps=max_steps)


@pytest.mark.parametrize(("max_epochs", "max_steps"), [(1, -1), (3, 100), (-1, 100), (None, 100)])
def test_a_length_that_ends(max_epochs: int | None, max_steps: int) -> None:
    require_training(trainer(max_epochs, max_steps), "cost")


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "complaint"),
    [
        (0, -1, r"cost\.epochs=0: must be >= 1"),
        (0, 100, r"cost\.epochs=0: must be >= 1"),
        (-1, -1, r"cost\.epochs=-1: must be >= 1"),
        (-2, 100, r"cost\.epochs=-2: must be >= 1"),
        (3, 0, r"cost\.max_steps=0: must be >= 1, or -1"),
        (3, -7, r"cost\.max_steps=-7"),
    ],
)
def test_a_length_of_nothing_or_without_end(max_epochs: int, max_steps: int, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        require_training(trainer(max_epochs, max_steps), "cost")


def test_steps_are_named_as_they_are_typed() -> None:
    with pytest.raises(UserError, match=r"^trainer\.max_steps=0: must be >= 1"):
        require_training(trainer(3, 0), "sft", steps_key="trainer.max_steps")


def test_outside_of_a_trainer_there_is_nothing_to_check() -> None:
    require_training(None, "sft")
