"""The scale of the reward channel: its running value, and that the gate does not touch it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.advantages import GAE, RLOO, Estimator, GroupNorm
from csrlhf.advantages.scale import DECAY, RewardScale
from csrlhf.ops.advantages import Groups
from csrlhf.penalties.base import Weights

MASK = torch.tensor([[True, True], [True, False]])


def test_the_running_root_mean_square_by_hand() -> None:
    scale = RewardScale()
    assert scale.divisor == 1.0
    scale.update(torch.tensor([[3.0, -3.0], [3.0, 99.0]]), MASK)
    assert scale.divisor.item() == pytest.approx(3.0)  # bias-corrected: one iteration counts whole
    scale.update(torch.tensor([[0.0, 0.0], [0.0, 99.0]]), MASK)
    assert scale.divisor.item() == pytest.approx((9 * DECAY * (1 - DECAY) / (1 - DECAY**2)) ** 0.5)


def test_rewards_without_spread_divide_by_nothing() -> None:
    scale = RewardScale()
    scale.update(torch.zeros(2, 2), MASK)
    assert scale.divisor == 1.0


def test_two_ranks_find_one_scale(on_two_ranks: Callable[..., Any]) -> None:
    values, mask = (
        torch.tensor([[1.0, 2.0], [4.0, 99.0], [8.0, 16.0]]),
        torch.tensor([[True] * 2, [True, False], [True] * 2]),
    )
    whole = RewardScale()
    whole.update(values, mask)

    def work(rank: int, total: Any) -> float:
        scale, rows = RewardScale(), slice(None, 1) if rank == 0 else slice(1, None)
        scale.update(values[rows], mask[rows], total)
        return scale.divisor.item()

    assert on_two_ranks(work) == [pytest.approx(whole.divisor.item())] * 2


@pytest.mark.parametrize(
    ("estimator", "keeps"),
    [(GAE(normalise="reward"), True), (RLOO(normalise="reward"), True), (GroupNorm(), True),
     (GAE(normalise="scale"), False), (RLOO(normalise="whiten"), False), (GroupNorm(normalise="group"), False)],
    ids=lambda value: f"{type(value).__name__}-{value.normalise}" if isinstance(value, Estimator) else "",
)  # fmt: skip
def test_an_open_gate_makes_longer_steps_unless_the_mix_is_divided_by_its_own_spread(
    estimator: Estimator, keeps: bool
) -> None:
    """With Z = 1 + λ a closed gate's step is 1 / (1 + λ) of a reward step; divided by the mix's spread all are one."""
    noise = torch.Generator().manual_seed(0)
    rewards = torch.randn(32, 2, 2, generator=noise)
    mask, values = torch.ones(32, 2, dtype=torch.bool), torch.zeros(32, 2, 2)
    groups, z = Groups(torch.arange(32) // 4, 8), torch.tensor(9.0)

    def size(weight: float) -> Tensor:
        weights = Weights(torch.tensor(1.0), torch.tensor([weight]), z)
        known = {} if isinstance(estimator, GAE) else {"groups": groups}
        values_BTC = values if estimator.needs_critic else None
        return estimator(rewards, values_BTC, mask, weights, **known).advantage_BT.pow(2).mean().sqrt()

    ratio = float(size(8.0) / size(0.0))
    assert ratio > 6 if keeps else ratio == pytest.approx(1.0, rel=0.15)  # 8.06 where the channels are independent
