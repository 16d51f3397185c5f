"""Whether a class that a config names can stand where it is named, told before anything is built."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.config import contracts, search_path
from csrlhf.errors import UserError

PROBLEMS = [
    # the key and what stands there, and the answer
    (
        "penalty",
        {"_target_": "my_penalty.Min"},
        "penalty._target_=my_penalty.Min: there is no Min in my_penalty (did you",
    ),
    (
        "penalty",
        {"_target_": "my_penaltie.Mine"},
        "there is no module my_penaltie; install its package, or start in the",
    ),
    ("penalty", {"_target_": "Mine"}, "penalty._target_=Mine: write module.Class"),
    ("penalty", {"_target_": "broken.Mine"}, "importing broken fails with SyntaxError"),
    ("penalty", {"_target_": "lacking.Mine"}, "importing lacking fails: No module named 'not_installed'"),
    (
        "penalty",
        {"_target_": "odd.Alien"},
        "penalty._target_=odd.Alien: must inherit from csrlhf.penalties.base.Penalty",
    ),
    ("penalty", {"_target_": "odd.Idle"}, "defines neither weights nor shape"),
    ("penalty", {"_target_": "odd.Needy"}, "penalty: Needy needs a value for width; add +penalty.width=..."),
    ("penalty", {"_target_": "odd.NUMBER"}, "is a int, not a class"),
    (
        "penalty",
        {"_target_": "my_penalty.Mine", "widht": 1},
        "penalty.widht=1: Mine has no such key (did you mean width?)",
    ),
    ("penalty", {"_target_": "csrlhf.penalties.none.NoPenalty", "x": 1}, "NoPenalty has no such key; it takes none"),
    ("constraints", {"harm": {"_target_": "odd.Alien"}}, "constraints.harm._target_=odd.Alien: must inherit from"),
    ("rollout", {"_target_": "odd.Alien"}, "must inherit from csrlhf.generation.sampler.Sampler"),
    (
        "penalty",
        {"_target_": "odd.Still"},
        "penalty._target_=odd.Still: update must accept update(self, violation_K): too many",
    ),
    (
        "constraints",
        {"harm": {"_target_": "odd.Lone", "threshold": 0.1}},
        "constraints.harm._target_=odd.Lone: forward must accept forward(self, cost_logits_B,",
    ),
    (
        "rollout",
        {"_target_": "odd.Seedless"},
        "__call__ must accept __call__(self, model, tokenizer, batch, seed, iteration): too many",
    ),
    ("advantage", {"_target_": "odd.Alien"}, "defines no __call__"),
    ("data", {"_target_": "odd.Alien"}, "data._target_=odd.Alien: has no method prompts; a data source brings all of"),
]

ODD = """
from csrlhf.constraints import Constraint
from csrlhf.penalties import Penalty
from csrlhf.generation.sampler import Sampler
NUMBER = 3
class Alien: ...
class Idle(Penalty): ...
class Needy(Penalty):
    def __init__(self, width): ...
    def weights(self, violation_K): ...
class Still(Penalty):
    def weights(self, violation_K): ...
    def update(self): ...
class Lone(Constraint):
    def forward(self, cost_logits_B): ...
class Seedless(Sampler):
    def __call__(self, model, tokenizer, batch): ...
"""


@pytest.fixture
def odd(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with classes that cannot be used."""
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    for name, text in (("odd", ODD), ("broken", "class Mine(:"), ("lacking", "import not_installed")):
        (here / f"{name}.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("key", "config", "answer"), PROBLEMS, ids=[answer[:40] for *_, answer in PROBLEMS])
def test_a_bad_class_is_refused_before_anything_is_built(
    odd: None, monkeypatch: pytest.MonkeyPatch, key: str, config: dict[str, Any], answer: str
) -> None:
    search_path.register()  # the current folder
    with pytest.raises(UserError, match=re.escape(answer)):
        contracts.check(key, config)


@pytest.mark.parametrize("arguments", ["v", "violation_K, stderr_K", "violation_K, *, stderr_K", "*given, **named"])
def test_weights_may_take_the_standard_error_or_leave_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.delitem(sys.modules, "takes", raising=False)
    text = f"from csrlhf.penalties import Penalty\nclass Mine(Penalty):\n    def weights(self, {arguments}): ...\n"
    (here / "takes.py").write_text(text, encoding="utf-8")
    search_path.register()  # the current folder
    contracts.check("penalty", {"_target_": "takes.Mine"})


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("+penalty._target_=my_penalty.Min", "penalty._target_=my_penalty.Min: there is no Min in my_penalty"),
        ("+advantage._target_=odd.Alien", "advantage._target_=odd.Alien: defines no __call__"),
        ("+rollout._target_=odd.Alien", "rollout.max_new_tokens: rollout starts without keys"),
    ],
)
def test_a_bad_class_gets_one_line(odd: None, command_line: Callable, ppo: list[str], word: str, answer: str) -> None:
    outcome = command_line(*ppo, word)
    assert outcome.code == 1, outcome.out
    [line] = outcome.err.strip().splitlines()
    assert line.startswith("error: ")
    assert answer in line
