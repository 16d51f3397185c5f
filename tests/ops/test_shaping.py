"""Token rewards by hand: 2 sequences and an empty one, 3 tokens, reward and two costs."""

from __future__ import annotations

import pytest
import torch

from csrlhf.ops.shaping import kl_k1, kl_k3, shape_rewards

MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
REWARD = torch.tensor([2.0, -1.0, 5.0])
COST = torch.tensor([[1.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
KL = torch.tensor([[0.1, -0.2, 0.3], [0.4, torch.nan, torch.inf], [9.0, 9.0, 9.0]])


def test_reward_pays_the_kl_and_costs_do_not() -> None:
    shaped = shape_rewards(REWARD, COST, KL, MASK, kl_coef=0.5)
    torch.testing.assert_close(shaped[..., 0], torch.tensor([[-0.05, 0.1, 1.85], [-1.2, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(shaped[..., 1], torch.tensor([[0.0, 0, 1], [0, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(shaped[..., 2], torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 0, 0]]))


def test_both_channels_pay_with_opposite_signs() -> None:
    shaped = shape_rewards(REWARD, COST, KL, MASK, kl_coef=0.5, kl_channels="both")
    torch.testing.assert_close(shaped[..., 0], torch.tensor([[-0.05, 0.1, 1.85], [-1.2, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(shaped[..., 1], torch.tensor([[0.05, -0.1, 1.15], [0.2, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(shaped[..., 2], torch.tensor([[0.05, -0.1, 0.15], [3.2, 0, 0], [0, 0, 0]]))


def test_an_empty_response_gets_zeros() -> None:
    assert shape_rewards(REWARD, COST, KL, MASK, kl_coef=1.0, kl_channels="both")[2].abs().sum() == 0


def test_clamp_bounds_the_shaped_rewards_of_every_channel() -> None:
    shaped = shape_rewards(REWARD, COST, KL, MASK, kl_coef=0.5, clamp=1.0)
    assert shaped[0, 2].tolist() == [1.0, 1.0, 0.0]
    assert shaped[1, 0].tolist() == [-1.0, 0.0, 1.0]


def test_kl_estimators_by_hand() -> None:
    policy, reference = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]])
    torch.testing.assert_close(kl_k1(policy, reference), torch.tensor([[0.5, -1.0]]))
    e = torch.tensor(1.0).exp().item()
    expected = torch.tensor([[e**-0.5 - 1 + 0.5, e - 1 - 1.0]])
    torch.testing.assert_close(kl_k3(policy, reference), expected)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_estimators_are_unbiased(estimator) -> None:
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    expectation = (policy * estimator(policy.log(), reference.log())).sum()
    torch.testing.assert_close(expectation, (policy * (policy / reference).log()).sum())
