from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, ListConfig

from csrlhf.config import overrides
from csrlhf.errors import UserError


@pytest.mark.parametrize(
    ("expected", "given", "fine"),
    [
        (3, 4, True),
        (3, "abc", False),
        (3, 4.5, False),
        (3, True, False),
        (0.5, 1, True),
        (0.5, "abc", False),
        (0.5, False, False),
        (0.5, DictConfig({"harm": 4.0}), True),  # one multiplier per constraint
        (True, False, True),
        (True, 1, False),
        ("32-true", 16, True),
        ("text", ListConfig([1]), False),
        (ListConfig(["harm"]), "harm", False),
        (ListConfig(["harm"]), ListConfig([]), True),
        (DictConfig({"a": 1}), 3, False),
        (None, "anything", True),
        (3, None, False),
        (0.5, None, False),
        (True, None, False),
        ("text", None, True),
        (ListConfig(["harm"]), None, True),
        (DictConfig({"a": 1}), None, True),
    ],
)
def test_types_are_those_of_the_defaults(expected: Any, given: Any, fine: bool) -> None:
    assert (overrides.type_problem(expected, given) is None) == fine


@pytest.mark.parametrize("word", ["--ppo.iterations=3", "-seed=1"])
def test_dashes_are_refused(word: str) -> None:
    with pytest.raises(UserError, match="without dashes"):
        overrides.refuse_options([word])


def test_hydras_own_options_pass() -> None:
    overrides.refuse_options(["--cfg=job", "--config-dir=x", "--help", "-c", "job", "seed=1"])


def test_a_choice_is_suggested() -> None:
    message = overrides.unknown_choice("penalty/rectifed", ["linear", "rectified"])
    assert message is not None
    assert "penalty=rectified" in message
    assert overrides.unknown_choice("train", ["a"]) is None


def test_several_files_of_a_group_are_no_key(command_line: Callable, tmp_path: Path) -> None:
    """Hydra names a group's choice among ``runtime.choices`` only where it is a single one."""
    small = ["stage=data", f"artifacts={tmp_path}", "experiment=[smoke,cs_rlhf]"]
    outcome = command_line(*small)
    assert outcome.code == 0, outcome.err
    added = command_line(*small, "+experiments=[smoke]")
    assert "+experiments: nothing reads this key" in added.err
