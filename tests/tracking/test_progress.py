"""How the steps of a run are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from csrlhf.tracking.progress import train_steps


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
