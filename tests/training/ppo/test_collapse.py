"""Signs of a collapse, and what is done about them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from csrlhf.training.ppo.collapse import CollapseCheck
from csrlhf.training.ppo.config import SelectionSettings
from csrlhf.training.ppo.validation import ValidationResult

RESULT = ValidationResult(
    count=100, reward=1.0, reward_std=2.0, value_K=(0.0,), stderr_K=(0.0,), threshold_K=(0.05,), names=("harm",),
    upper_bound_K=lambda confidence: (0.03,), kl=0.5, entropy=1.0, refusal_rate=0.2, distinct=0.8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distinct": 0.1}, r"only 10% of the responses differ \(start policy: 80%\)"),
        ({"refusal_rate": 0.95}, "95% of the responses refuse"),
        ({"entropy": 0.01}, "token entropy fell to 0.010"),
    ],
)
def test_collapse_warns_and_stops_as_asked(change: dict[str, Any], words: str) -> None:
    for action, stops in (("warn", False), ("stop", True)):
        check, trainer = CollapseCheck(SelectionSettings(on_collapse=action)), SimpleNamespace(should_stop=False)  # type: ignore[arg-type]  # a word names it
        check.look(RESULT)
        check.look(replace(RESULT, **change))
        with pytest.warns(UserWarning, match=f"the policy collapses: .*{words}"):
            check.warn(trainer)  # type: ignore[arg-type]  # all that is asked of it
        assert trainer.should_stop is stops
        assert check.bars


@pytest.mark.filterwarnings("error")
def test_a_healthy_policy_and_ignore_are_silent() -> None:
    trainer: Any = SimpleNamespace(should_stop=False)
    healthy, ignoring = (
        CollapseCheck(SelectionSettings(on_collapse="stop")),  # type: ignore[arg-type]  # a word names it
        CollapseCheck(SelectionSettings(on_collapse="ignore")),  # type: ignore[arg-type]  # a word names it
    )
    healthy.look(replace(RESULT, distinct=0.1))
    healthy.look(replace(RESULT, distinct=0.05))  # half of its own start
    ignoring.look(replace(RESULT, entropy=0.0))
    healthy.warn(trainer)
    ignoring.warn(trainer)
    assert trainer.should_stop is False
    assert not healthy.bars
    assert not ignoring.bars
