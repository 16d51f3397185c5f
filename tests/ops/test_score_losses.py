"""Losses of score models against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.ops.score_losses import bradley_terry_loss, semantic_cost_loss


def test_bradley_terry_of_two_pairs() -> None:
    # -log sigmoid(ln 3) = -log 3/4; -log sigmoid(0) = log 2
    loss = bradley_terry_loss(torch.tensor([math.log(3), 1.0]), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_bradley_terry_regularization_is_the_mean_square_of_all_rewards() -> None:
    chosen, rejected = torch.tensor([2.0]), torch.tensor([1.0])
    extra = bradley_terry_loss(chosen, rejected, 0.1) - bradley_terry_loss(chosen, rejected)
    assert extra.item() == pytest.approx(0.1 * (4 + 1) / 2)


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50))
def test_bradley_terry_sees_differences_only(chosen: float, rejected: float, shift: float) -> None:
    pair = torch.tensor([[chosen], [rejected]], dtype=torch.float64)
    assert torch.allclose(bradley_terry_loss(*pair), bradley_terry_loss(*(pair + shift)), atol=1e-9)


def test_semantic_loss_by_hand() -> None:
    # unsafe row at logit ln 3: -log 3/4; safe row at logit ln 3: -log 1/4
    logits = torch.tensor([[math.log(3)], [math.log(3)]])
    loss = semantic_cost_loss(logits, torch.tensor([[1.0], [0.0]]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_smoothed_labels_have_their_minimum_at_finite_logits() -> None:
    # s = 0.2 turns the label 1 into 0.9, whose best logit is log 9
    logit = torch.tensor([[math.log(9.0)]], requires_grad=True)
    semantic_cost_loss(logit, torch.tensor([[1.0]]), label_smoothing=0.2).backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_constraints_count_alike() -> None:
    logits, unsafe = torch.randn(5, 2), torch.randint(0, 2, (5, 2)).float()
    columns = [semantic_cost_loss(logits[:, k : k + 1], unsafe[:, k : k + 1]) for k in range(2)]
    assert torch.allclose(semantic_cost_loss(logits, unsafe), torch.stack(columns).mean())
