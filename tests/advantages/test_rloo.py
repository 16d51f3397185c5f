"""Leave-one-out advantages, by hand: four responses to two prompts, two channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.advantages.rloo import RLOO
from csrlhf.errors import UserError
from csrlhf.ops.advantages import Groups
from csrlhf.penalties.base import Weights

MASK = torch.tensor([[True, True], [True, True], [True, False], [True, True]])
REWARDS = torch.tensor(
    [[[-0.1, 0.0], [1.1, 1.0]], [[0.0, 0.0], [3.0, 0.0]], [[2.0, 1.0], [9.0, 9.0]], [[-1.0, 0.0], [1.0, 1.0]]]
)
"""Scores per response: rewards 1, 3, 2, 0 and costs 1, 0, 1, 1; the third has a token of padding."""
GROUPS = Groups(torch.tensor([0, 0, 1, 1]), 2)


def weights(cost: float, normaliser: float) -> Weights:
    return Weights(torch.tensor(1.0), torch.tensor([cost]), torch.tensor(normaliser))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand() -> None:
    found = RLOO()(REWARDS, None, MASK, weights(4.0, 5.0), GROUPS)
    # rewards: 1 - 3, 3 - 1, 2 - 0, 0 - 2; costs: 1, -1, 0, 0
    expected = torch.tensor([(-2.0 - 4.0) / 5, (2.0 + 4.0) / 5, 2.0 / 5, -2.0 / 5])
    torch.testing.assert_close(found.advantage_BT, torch.where(MASK, expected.unsqueeze(-1), 0.0))
    assert found.reward_advantage_BT is not None
    assert found.cost_advantage_BTK is not None
    torch.testing.assert_close(found.reward_advantage_BT[:, 0], torch.tensor([-2.0, 2.0, 2.0, -2.0]))
    torch.testing.assert_close(found.cost_advantage_BTK[:, 0, 0], torch.tensor([1.0, -1.0, 0.0, 0.0]))
    assert found.values_BTC is None
    assert found.returns_BTC is None


def test_the_baseline_is_the_mean_of_the_others() -> None:
    rewards = torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1).expand(3, 1, 2)
    found = RLOO()(
        rewards, None, torch.ones(3, 1, dtype=torch.bool), weights(0.0, 1.0), Groups(torch.zeros(3).long(), 1)
    )
    torch.testing.assert_close(found.advantage_BT[:, 0], torch.tensor([1.0 - 4.0, 2.0 - 3.5, 6.0 - 1.5]))


def test_a_response_without_tokens_is_nobody_s_baseline() -> None:
    mask = MASK.clone()
    mask[1] = False
    found = RLOO()(REWARDS, None, mask, weights(4.0, 5.0), GROUPS)
    assert found.advantage_BT[:2].abs().sum() == 0  # the first has no other to be compared with
    torch.testing.assert_close(found.advantage_BT[2:, 0], torch.tensor([0.4, -0.4]))


def test_padding_changes_nothing() -> None:
    junk = torch.full((4, 3, 2), torch.nan)
    wide = RLOO()(torch.cat([REWARDS, junk], 1), None, torch.nn.functional.pad(MASK, (0, 3)), weights(4.0, 5.0), GROUPS)
    narrow = RLOO()(REWARDS, None, MASK, weights(4.0, 5.0), GROUPS)
    assert torch.equal(wide.advantage_BT[:, :2], narrow.advantage_BT)
    assert wide.advantage_BT[:, 2:].abs().sum() == 0


@pytest.mark.parametrize("normalise", ["none", "whiten"])
@pytest.mark.parametrize("first", [1, 3, 4, 5])
def test_a_group_that_two_ranks_share_is_one_group(
    on_two_ranks: Callable[..., Any], first: int, normalise: str
) -> None:
    rewards, mask = noise(6, 2, 3), noise(6, 2, seed=1) > -1
    index = torch.arange(6) // 3
    several = Weights(torch.tensor(1.0), torch.tensor([2.0, 0.5]), torch.tensor(3.5))
    whole = RLOO(normalise)(rewards, None, mask, several, Groups(index, 2))

    def work(rank: int, total: Any) -> Tensor:
        rows = slice(None, first) if rank == 0 else slice(first, None)
        return RLOO(normalise)(rewards[rows], None, mask[rows], several, Groups(index[rows], 2), total).advantage_BT

    torch.testing.assert_close(torch.cat(on_two_ranks(work)), whole.advantage_BT, rtol=0, atol=1e-12)


def test_a_zero_multiplier_and_a_closed_gate_are_plain() -> None:
    plain = RLOO()(REWARDS[..., :1], None, MASK, Weights(torch.tensor(1.0), torch.zeros(0), torch.tensor(1.0)), GROUPS)
    zero = RLOO()(REWARDS, None, MASK, weights(0.0, 1.0), GROUPS)
    assert torch.equal(zero.advantage_BT, plain.advantage_BT)
    closed = RLOO()(REWARDS, None, MASK, weights(0.0, 5.0), GROUPS)
    torch.testing.assert_close(closed.advantage_BT, plain.advantage_BT / 5.0)


def test_unknown_normalisation_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"advantage\.normalise='batch': choose one of none, reward, whiten, scale"):
        RLOO(normalise="batch")
