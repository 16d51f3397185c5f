"""Parameters held against the configuration before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.sweeping.spec import check_keys, read_spec

Write = Callable[[dict[str, Any]], Path]


def test_what_the_configuration_says_of_all_runs(content: dict[str, Any], write: Write) -> None:
    content["parameters"]["penalty"] = {"values": ["rectified", "linear"]}
    setting = check_keys(read_spec(write(content)), ["artifacts=elsewhere", "inputs.sft=some/model"])
    assert setting.artifacts == Path("elsewhere")
    assert setting.inputs == {"sft": "some/model"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"penalty.multiplyer": {"values": [1.0]}}, r"penalty.multiplyer: there is no such key; .* penalty.mult"),
        ({"penalty": {"values": ["pid", "recified"]}}, r"penalty=recified: there is no such choice; .*=rectified"),
        (
            {"penalty": {"values": ["rectified", "switching"]}, "penalty.multiplier": {"values": [1.0]}},
            r"parameters.penalty.multiplier: there is no such key",
        ),
        ({"ppo.epochs": {"values": [1, 2.5]}}, r"parameters.ppo.epochs: 2.5: the key takes a whole number"),
        ({"ppo.epochs": {"distribution": "q_uniform", "min": 1, "max": 3}}, r"ppo.epochs: 1.1: the key takes a whole"),
        ({"ppo.clip": {"values": ["wide"]}}, r"parameters.ppo.clip: wide: the key takes a number"),
        ({"sft.epochs": {"values": [1, 2]}}, r"parameters.sft.epochs: the runs are stage=ppo and share one sft model"),
        ({"name": {"values": ["a", "b"]}}, r"parameters.name: the sweep sets name itself"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(content: dict[str, Any], write: Write, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_keys(read_spec(write(content | {"parameters": parameters})), [])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("name=x", r"--overrides name=x: the sweep sets name itself"),
        ("penalty.multiplier=3", r"--overrides penalty.multiplier=3: penalty.multiplier is a parameter of the sweep"),
        ("ppo.cilp=3", r"ppo.cilp: there is no such key; did you mean ppo.clip"),
    ],
)
def test_a_word_for_all_runs_is_checked_too(content: dict[str, Any], write: Write, word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_keys(read_spec(write(content)), [word])


def test_a_local_sweep_is_of_ppo(content: dict[str, Any], write: Write) -> None:
    content["command"][3] = "stage=pipeline"
    with pytest.raises(UserError, match=r"command: a local sweep runs stage=ppo"):
        check_keys(read_spec(write(content)), [])
