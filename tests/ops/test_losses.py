"""PPO's losses by hand, and aggregation that does not depend on how a batch is split."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.ops.logprobs import EXCLUDED
from csrlhf.ops.losses import (
    AGGREGATIONS,
    aggregate,
    clipped,
    clipped_surrogate,
    clipped_value,
    denominator_of,
    importance_ratio,
    importance_weight,
    separate_surrogate,
    surrogate_shift,
    truncate_ratio,
)


def test_clipped_surrogate_by_hand() -> None:
    ratio = torch.tensor([[1.0, 1.5, 1.5, 0.5, 0.5]])
    advantage = torch.tensor([[2.0, 1.0, -1.0, 1.0, -1.0]])
    loss = clipped_surrogate(ratio.log(), torch.zeros(1, 5), advantage, clip=0.2)
    torch.testing.assert_close(loss, torch.tensor([[-2.0, -1.2, 1.5, -0.5, 0.8]]))


def test_the_ratio_of_a_sequence_is_the_geometric_mean_by_hand() -> None:
    """GSPO: ratios 2 and 8 make 4 for both tokens; the padding's 99 is no part of it; each token has its gradient."""
    logprobs = torch.tensor([[2.0, 8.0, 99.0], [3.0, 5.0, 7.0]]).log().requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    ratio = importance_ratio(logprobs, torch.zeros(2, 3), mask, "sequence")
    torch.testing.assert_close(ratio[mask], torch.tensor([4.0, 4.0, 3.0]))
    ratio[mask].sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([[4.0, 4.0, 0.0], [3.0, 0.0, 0.0]]))


def test_the_loss_of_a_sequence_is_gspo_s_where_its_tokens_share_an_advantage() -> None:
    """``∇ s(θ) A`` with s the exponential of the mean: written directly, and through the tokens."""
    logprobs, mask = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.ones(4, 5, dtype=torch.bool)
    old, advantage = logprobs + 0.1, torch.tensor([1.0, -2.0, 0.5, -0.1])
    direct, tokens = logprobs.clone().requires_grad_(), logprobs.clone().requires_grad_()
    (-(direct - old).mean(dim=1).exp() * advantage).mean().backward()
    loss = clipped(importance_ratio(tokens, old, mask, "sequence"), advantage.unsqueeze(-1).expand(4, 5), clip=0.2)
    aggregate(loss, mask, "sequence", 4).backward()
    torch.testing.assert_close(tokens.grad, direct.grad)


def test_a_truncated_ratio_keeps_the_gradient_of_its_cap_by_hand() -> None:
    logprobs = torch.tensor([0.5, 2.0, 8.0]).log().requires_grad_()
    ratio = truncate_ratio(logprobs.exp(), 2.0)
    torch.testing.assert_close(ratio, torch.tensor([0.5, 2.0, 2.0]))
    ratio.sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.5, 2.0, 2.0]))


def test_the_importance_weight_by_hand() -> None:
    old, sampled = torch.tensor([0.5, 0.5, 0.9]).log(), torch.tensor([0.25, 0.1, 0.9]).log()
    torch.testing.assert_close(importance_weight(old, sampled, 3.0), torch.tensor([2.0, 3.0, 1.0]))
    assert importance_weight(torch.tensor(EXCLUDED), torch.tensor(-1.0), 2.0) == 0.0


def test_separate_surrogate_and_its_gradient_by_hand() -> None:
    """ε = 0.2, w_r = 2, w_c = (3, 1), Z = 4. Only the middle token's reward term is inside the clip."""
    logprobs = torch.tensor([[2.0, 1.1, 0.5]], dtype=torch.float64).log().requires_grad_()
    reward = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    cost = torch.tensor([[[1.0, 0.0], [-1.0, 2.0], [2.0, -4.0]]], dtype=torch.float64)
    weights = torch.tensor(2.0), torch.tensor([3.0, 1.0], dtype=torch.float64), torch.tensor(4.0)
    loss = separate_surrogate(logprobs.exp(), reward, cost, *weights, clip=0.2)
    # rewards: -1.2 * 2, -1.1 * 4, 0.8 * 2; costs: 2 * 3, 1.1 * (-3 + 2), 0.5 * (6 - 4)
    expected = torch.tensor([[(-2.4 + 6.0) / 4, (-4.4 - 1.1) / 4, (1.6 + 1.0) / 4]], dtype=torch.float64)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([[6.0 / 4, -5.5 / 4, 1.0 / 4]], dtype=torch.float64))


def test_surrogate_shift_by_hand() -> None:
    """Σ (ρ - 1) A_c over the selected tokens; an unselected one may hold anything."""
    logprobs = torch.tensor([[1.5, 0.5], [2.0, 3.0]]).log()
    cost = torch.tensor([[[1.0, -1.0], [2.0, 0.0]], [[3.0, 1.0], [torch.inf, torch.nan]]])
    mask = torch.tensor([[True, True], [True, False]])
    shift = surrogate_shift(logprobs, torch.zeros(2, 2), cost, mask)
    torch.testing.assert_close(shift, torch.tensor([0.5 - 1.0 + 3.0, -0.5 + 1.0]))


def test_surrogate_s_gradient_at_ratio_one_is_the_policy_gradient() -> None:
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    advantage = torch.tensor([[3.0, -4.0]])
    clipped_surrogate(logprobs, logprobs.detach(), advantage, clip=0.2).sum().backward()
    torch.testing.assert_close(logprobs.grad, -advantage)


def test_a_token_excluded_now_leaves_the_gradient_alone() -> None:
    for sign in (1.0, -1.0):
        logprobs = torch.tensor([[-1e4]], requires_grad=True)
        loss = clipped_surrogate(logprobs, torch.tensor([[-1.0]]), torch.tensor([[sign]]), clip=0.2)
        loss.sum().backward()
        assert math.isfinite(loss.item())
        assert logprobs.grad is not None
        assert logprobs.grad.item() == 0.0


def test_clipped_value_by_hand() -> None:
    values, old, returns = torch.tensor([2.0, 0.1, 2.0]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([3.0, 1.0, 0.0])
    torch.testing.assert_close(clipped_value(values, old, returns, None), torch.tensor([0.5, 0.405, 2.0]))
    # clipped to 0.5: (2.5² vs 1), (0.1 stays), (2² vs 0.5²)
    torch.testing.assert_close(clipped_value(values, old, returns, 0.5), torch.tensor([3.125, 0.405, 2.0]))


def test_aggregation_by_hand() -> None:
    loss = torch.tensor([[1.0, 3.0], [5.0, torch.nan], [torch.nan, torch.nan]])
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    assert aggregate(loss, mask, "token", denominator_of(mask, "token")).item() == pytest.approx(9 / 3)
    # the sequence without tokens has no mean and does not dilute the others
    assert aggregate(loss, mask, "sequence", denominator_of(mask, "sequence")).item() == pytest.approx((2 + 5) / 2)


def test_denominator_is_never_zero() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    for how in AGGREGATIONS:
        assert denominator_of(nothing, how).item() == 1
        assert aggregate(torch.ones(2, 3), nothing, how, denominator_of(nothing, how)).item() == 0


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(AGGREGATIONS), st.integers(1, 5), st.integers(0, 99))
def test_micro_batches_add_up_to_the_whole(how: str, split: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    mask = torch.arange(4) < torch.randint(0, 5, (6, 1), generator=generator)
    denominator = denominator_of(mask, how)
    whole = aggregate(loss, mask, how, denominator)
    parts = [aggregate(loss[rows], mask[rows], how, denominator) for rows in (slice(None, split), slice(split, None))]
    torch.testing.assert_close(sum(parts), whole)


def test_unknown_aggregation_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"ppo\.aggregation='mean': choose one of sequence, token"):
        aggregate(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), "mean", 1.0)
