"""What cost models and a reward model make of candidates, and what is told where they give no numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from csrlhf.errors import InputWarning, UserError


def test_several_constraints(folders: Any, make: Any) -> None:
    two = make(cost=folders.cost_two, threshold={"harm": 1e9, "privacy": -1e9}, n=2)
    assert all(said.abstained for said in two(["a", "b"]))
    assert [set(one.costs) for said in two(["a"]) for one in said.candidates] == [{"harm", "privacy"}] * 2
    apart = make(cost={"privacy": folders.cost_privacy, "harm": folders.cost}, n=2)
    assert apart.thresholds == {"privacy": 0.0, "harm": 0.0}
    alone, both = make(cost=folders.cost, n=2).candidates(["a"])[0], apart.candidates(["a"])[0]
    assert [one.costs["harm"] for one in both] == [one.costs["harm"] for one in alone]
    listed = make(cost=[folders.cost, folders.cost_privacy], n=2).candidates(["a"])[0]
    assert [dict(one.costs) for one in listed] == [dict(one.costs) for one in both]


def test_without_a_cost_model_the_reward_decides(make: Any) -> None:
    said = make(cost=None, n=4)(["a"])[0]
    heard = [one for one in said.candidates if one.response.strip()]
    assert said.reward == max(one.reward for one in heard)
    assert said.cost == {}


def test_costs_that_are_no_numbers_are_rejected_with_a_warning(make: Any) -> None:
    decoder = make(n=2)
    torch.nn.init.constant_(decoder.judges.cost.model.head.weight, math.nan)
    with pytest.warns(InputWarning, match="NaN for a response to the prompt 'a'; such responses count as rejected"):
        assert all(said.abstained for said in decoder(["a", "b"]))


def test_rewards_that_are_no_numbers_are_told(make: Any, prompts: list[Any]) -> None:
    decoder = make(n=2, threshold=1e9)
    torch.nn.init.constant_(decoder.judges.reward.model.head.weight, math.nan)
    with pytest.raises(UserError, match=r"reward=.*gives NaN for every accepted response to prompts\[0\]"):
        decoder(["a"])
