"""Scores compared within a prompt's responses, by hand, and the four scales; the channels are mixed first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.advantages.group_norm import GROUP_NORMALISE, GroupNorm
from csrlhf.errors import UserError
from csrlhf.ops.advantages import Groups
from csrlhf.penalties.base import Weights

MASK = torch.tensor([[True, True], [True, True], [True, False], [True, True]])
REWARDS = torch.tensor(
    [[[-0.1, 0.0], [1.1, 1.0]], [[0.0, 0.0], [3.0, 0.0]], [[2.0, 1.0], [9.0, 9.0]], [[-1.0, 0.0], [1.0, 1.0]]],
    dtype=torch.float64,
)
"""Scores per response: rewards 1, 3, 2, 0 and costs 1, 0, 1, 1; the third has a token of padding."""
GROUPS = Groups(torch.tensor([0, 0, 1, 1]), 2)


def weights(cost: float, normaliser: float) -> Weights:
    numbers = torch.tensor([1.0, cost, normaliser], dtype=torch.float64)
    return Weights(numbers[0], numbers[1:2], numbers[2])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def advantage(rewards: Tensor, chosen: Weights, eps: float = 1e-12, normalise: str = "group") -> Tensor:
    return GroupNorm(eps, normalise)(rewards, None, MASK, chosen, GROUPS).advantage_BT


def test_by_hand() -> None:
    # mixed: (1 - 4) / 5, 3 / 5 | (2 - 4) / 5, (0 - 4) / 5: means 0 and -.6, deviations .6 and .2
    found = GroupNorm(0.1, "group")(REWARDS, None, MASK, weights(4.0, 5.0), GROUPS)
    expected = torch.tensor([-0.6 / 0.7, 0.6 / 0.7, 0.2 / 0.3, -0.2 / 0.3], dtype=torch.float64)
    torch.testing.assert_close(found.advantage_BT, torch.where(MASK, expected.unsqueeze(-1), 0.0))
    assert found.reward_advantage_BT is not None
    assert found.cost_advantage_BTK is not None
    assert found.reward_advantage_BT[:, 0].tolist() == pytest.approx([-1.0, 1.0, 1.0, -1.0])  # not normalised
    assert found.cost_advantage_BTK[:, 0, 0].tolist() == pytest.approx([0.5, -0.5, 0.0, 0.0])
    assert found.values_BTC is None


def test_the_multiplier_keeps_its_meaning() -> None:
    """Standardised apart, costs ten times as large would weigh the same; here they weigh like ten times the λ."""
    rewards, mask, four = noise(4, 1, 2), torch.ones(4, 1, dtype=torch.bool), Groups(torch.zeros(4).long(), 1)

    def found(scale: float, cost: float) -> Tensor:
        scaled = rewards * torch.tensor([1.0, scale])
        return GroupNorm(1e-12, "group")(scaled, None, mask, weights(cost, 1.0), four).advantage_BT

    torch.testing.assert_close(found(10.0, 0.2), found(1.0, 2.0))
    assert (found(10.0, 0.2) - found(1.0, 0.2)).abs().max() > 0.1


def test_responses_that_score_alike_teach_nothing() -> None:
    same = torch.ones(4, 2, 2, dtype=torch.float64)
    found = GroupNorm()(same, None, torch.ones(4, 2, dtype=torch.bool), weights(4.0, 5.0), GROUPS).advantage_BT
    assert found.abs().max() < 1e-9


def test_a_response_without_tokens_takes_no_part() -> None:
    mask = torch.tensor([[True], [True], [False]])
    rewards = torch.tensor([1.0, 3.0, 100.0], dtype=torch.float64).view(3, 1, 1).expand(3, 1, 2)
    groups = Groups(torch.zeros(3).long(), 1)
    found = GroupNorm(1e-12, "group")(rewards, None, mask, weights(0.0, 1.0), groups).advantage_BT
    assert found[:, 0].tolist() == pytest.approx([-1.0, 1.0, 0.0])


def test_padding_changes_nothing() -> None:
    junk = torch.full((4, 3, 2), torch.nan, dtype=torch.float64)
    mask = torch.nn.functional.pad(MASK, (0, 3))
    wide = GroupNorm()(torch.cat([REWARDS, junk], 1), None, mask, weights(4.0, 5.0), GROUPS).advantage_BT
    assert torch.equal(wide[:, :2], GroupNorm()(REWARDS, None, MASK, weights(4.0, 5.0), GROUPS).advantage_BT)
    assert wide[:, 2:].abs().sum() == 0


def test_divided_by_the_reward_s_scale_or_by_nothing() -> None:
    """Mixed and centred: -.6, .6 | .2, -.2; the reward channel, centred, is 1 in size everywhere."""
    mixed = torch.tensor([-0.6, 0.6, 0.2, -0.2], dtype=torch.float64)
    expected = torch.where(MASK, mixed.unsqueeze(-1), 0.0)
    torch.testing.assert_close(advantage(REWARDS, weights(4.0, 5.0), normalise="none"), expected)
    torch.testing.assert_close(advantage(REWARDS, weights(4.0, 5.0), normalise="reward"), expected)
    wide = REWARDS * torch.tensor([3.0, 1.0])
    tripled = advantage(wide, weights(12.0, 5.0), normalise="reward")  # λ is a price in units of reward
    torch.testing.assert_close(tripled, expected)


def test_each_channel_by_its_own_deviation_by_hand() -> None:
    """Rewards of both groups deviate by 1; costs by .5 and by 0."""
    found = advantage(REWARDS, weights(4.0, 5.0), eps=0.5, normalise="per_channel")
    expected = torch.tensor(
        [(-1 / 1.5 - 4 * 0.5) / 5, (1 / 1.5 + 4 * 0.5) / 5, 1 / 1.5 / 5, -1 / 1.5 / 5], dtype=torch.float64
    )
    torch.testing.assert_close(found, torch.where(MASK, expected.unsqueeze(-1), 0.0))


@pytest.mark.parametrize("normalise", GROUP_NORMALISE)
@pytest.mark.parametrize("first", [1, 3, 4, 5])
def test_a_group_that_two_ranks_share_is_one_group(
    on_two_ranks: Callable[..., Any], first: int, normalise: str
) -> None:
    rewards, mask = noise(6, 2, 3), noise(6, 2, seed=1) > -1
    index = torch.arange(6) // 3
    several = Weights(torch.tensor(1.0), torch.tensor([2.0, 0.5]), torch.tensor(3.5))
    whole = GroupNorm(normalise=normalise)(rewards, None, mask, several, Groups(index, 2)).advantage_BT

    def work(rank: int, total: Any) -> Tensor:
        rows = slice(None, first) if rank == 0 else slice(first, None)
        estimator, groups = GroupNorm(normalise=normalise), Groups(index[rows], 2)
        return estimator(rewards[rows], None, mask[rows], several, groups, total).advantage_BT

    torch.testing.assert_close(torch.cat(on_two_ranks(work)), whole, rtol=0, atol=1e-12)


def test_the_group_s_spread_takes_the_normaliser_out_and_the_reward_s_does_not() -> None:
    """With GRPO's own division a closed gate is plain PPO whatever Z is: λ could as well be another."""
    alone = Weights(torch.tensor(1.0), torch.zeros(0), torch.tensor(1.0))
    plain = advantage(REWARDS[..., :1], alone)
    assert torch.equal(advantage(REWARDS, weights(0.0, 1.0)), plain)
    torch.testing.assert_close(advantage(REWARDS, weights(0.0, 5.0)), plain)
    kept = [advantage(REWARDS, weights(0.0, z), normalise="reward") for z in (1.0, 5.0)]
    torch.testing.assert_close(kept[1], kept[0] / 5)


@pytest.mark.parametrize("eps", [0.0, -1.0, float("inf"), float("nan")])
def test_out_of_range_names_the_key(eps: float) -> None:
    with pytest.raises(UserError, match=rf"advantage\.eps={eps}: must be a positive number"):
        GroupNorm(eps)


def test_an_unknown_scale_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"advantage\.normalise='whiten': choose one of reward, none, group"):
        GroupNorm(normalise="whiten")
