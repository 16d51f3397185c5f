"""Running statistics of scores: by hand, the same for any split, and what they make of the multiplier."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from csrlhf.training.ppo.rewards import ScoreScale

REWARDS = torch.tensor([1.0, 3.0, 5.0, 7.0])
COSTS = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
"""Means 4, .5, 1; variances 5, .25, 0."""


def seen(kind: str, *, batches: int = 1) -> ScoreScale:
    scale = ScoreScale(2, kind, kind)
    for rewards, costs in zip(REWARDS.chunk(batches), COSTS.chunk(batches), strict=True):
        scale.update(rewards, costs)
    return scale


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_by_hand(batches: int) -> None:
    scale, whiten = seen("scale", batches=batches), seen("whiten", batches=batches)
    assert scale.deviation_C.tolist() == pytest.approx([5**0.5, 0.5, 1.0])  # a constant is not divided
    assert whiten.mean_C.tolist() == pytest.approx([4.0, 0.5, 1.0])
    assert scale.price_K.tolist() == pytest.approx([2 * 5**0.5, 5**0.5])
    torch.testing.assert_close(scale.reward(REWARDS), REWARDS / 5**0.5)
    torch.testing.assert_close(whiten.reward(REWARDS), (REWARDS - 4) / 5**0.5)
    torch.testing.assert_close(scale.cost(COSTS), COSTS / torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(whiten.cost(COSTS), (COSTS - torch.tensor([0.5, 1.0])) / torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(whiten.cost(torch.tensor([0.25, 0.0])), torch.tensor([-0.5, -1.0]))  # thresholds


def test_none_changes_no_bit() -> None:
    scale = seen("none")
    assert scale.count == 0
    assert torch.equal(scale.reward(REWARDS), REWARDS)
    assert torch.equal(scale.cost(COSTS), COSTS)
    assert scale.price_K.tolist() == [1.0, 1.0]


def test_one_channel_alone() -> None:
    scale = ScoreScale(2, reward="scale", cost="none")
    scale.update(REWARDS, COSTS)
    assert torch.equal(scale.cost(COSTS), COSTS)
    assert scale.price_K.tolist() == pytest.approx([5**0.5, 5**0.5])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(-1e6, 1e6), st.integers(0, 99))
def test_any_split_into_batches_and_ranks_finds_the_whole(sizes: list[int], shift: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2 * sum(sizes), 3, generator=generator, dtype=torch.float64) + shift
    scale, first = ScoreScale(2, "whiten", "whiten"), 0
    for size in sizes:  # two ranks with as many rows each: `total` sees one of them, and adds what the other would say
        mine, other = scores[first : first + size], scores[first + size : first + 2 * size]
        asked = iter((torch.tensor(float(size)), other.sum(0), None))
        both = torch.cat([mine, other])

        def total(value: Tensor, asked=asked, other=other, both=both) -> Tensor:
            rest = next(asked)
            return value + (((other - both.mean(0)) ** 2).sum(0) if rest is None else rest)

        scale.update(mine[:, 0], mine[:, 1:], total)
        first += 2 * size
    torch.testing.assert_close(scale.mean_C, scores.mean(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scale.squares_C, ((scores - scores.mean(0)) ** 2).sum(0), rtol=1e-6, atol=1e-8)
    assert scale.count == len(scores)


def test_the_effective_multiplier_is_the_price_in_raw_units() -> None:
    scale, multiplier_K = seen("scale"), torch.tensor([4.0, 2.0])
    normalised = scale.reward(REWARDS) - scale.cost(COSTS) @ multiplier_K
    raw = REWARDS - COSTS @ (multiplier_K * scale.price_K.float())
    torch.testing.assert_close(normalised * scale.deviation_C[0].float(), raw)


def test_the_state_keeps_its_precision_and_comes_back() -> None:
    scale = seen("whiten").to(torch.bfloat16)
    assert scale.mean_C.dtype == scale.squares_C.dtype == scale.count.dtype == torch.float64
    again = ScoreScale(2, "whiten", "whiten")
    again.load_state_dict(scale.state_dict())
    assert torch.equal(again.reward(REWARDS), scale.reward(REWARDS))
