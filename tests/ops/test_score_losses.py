"""Losses of score models against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.ops.losses import bradley_terry_loss, pairwise_cost_loss, semantic_cost_loss


def test_bradley_terry_of_two_pairs() -> None:
    # -log sigmoid(ln 3) = -log 3/4; -log sigmoid(0) = log 2
    loss = bradley_terry_loss(torch.tensor([math.log(3), 1.0]), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_bradley_terry_regularization_is_the_mean_square_of_all_rewards() -> None:
    chosen, rejected = torch.tensor([2.0]), torch.tensor([1.0])
    extra = bradley_terry_loss(chosen, rejected, 0.1) - bradley_terry_loss(chosen, rejected)
    assert extra.item() == pytest.approx(0.1 * (4 + 1) / 2)


def test_bradley_terry_margin_by_hand() -> None:
    # differences ln 3 + 1 and 2 with margins 1 and 2: -log sigmoid(ln 3) and -log sigmoid(0)
    chosen, rejected = torch.tensor([math.log(3) + 1, 5.0]), torch.tensor([0.0, 3.0])
    loss = bradley_terry_loss(chosen, rejected, margin=torch.tensor([1.0, 2.0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    alike = torch.full((2,), 1.5)
    assert torch.equal(
        bradley_terry_loss(chosen, rejected, margin=1.5), bradley_terry_loss(chosen, rejected, margin=alike)
    )


def test_a_margin_leaves_the_regularizer_alone() -> None:
    chosen, rejected = torch.tensor([2.0]), torch.tensor([1.0])
    extra = bradley_terry_loss(chosen, rejected, 0.1, margin=3.0) - bradley_terry_loss(chosen, rejected, margin=3.0)
    assert extra.item() == pytest.approx(0.1 * (4 + 1) / 2)


@given(st.floats(-50, 50), st.floats(0, 50), st.floats(0, 50))
def test_a_wider_margin_pulls_harder(difference: float, margin: float, more: float) -> None:
    chosen = torch.tensor([difference], dtype=torch.float64, requires_grad=True)
    slopes = []
    for m in (margin, margin + more):
        (slope,) = torch.autograd.grad(bradley_terry_loss(chosen, torch.zeros_like(chosen), margin=m), chosen)
        slopes.append(slope.item())
    assert slopes[1] <= slopes[0] <= 0.0


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


UNSAFE, SAFE = torch.ones(1, 1), torch.zeros(1, 1)


def test_pairwise_cost_loss_of_an_unsafe_and_a_safe_response() -> None:
    # c_unsafer = ln 3, c_safer = -ln 3: -log sigmoid(ln 9) = log 10/9, and twice -log sigmoid(ln 3) = log 4/3
    high = torch.tensor([[math.log(3)]])
    by_hand = math.log(10 / 9) + 2 * math.log(4 / 3)
    assert pairwise_cost_loss(high, -high, UNSAFE, UNSAFE, SAFE).item() == pytest.approx(by_hand)


def test_pairwise_cost_loss_of_two_safe_responses_still_compares_them() -> None:
    # both at ln 3 and safe: -log sigmoid(0) = log 2, and twice -log sigmoid(-ln 3) = log 4
    high = torch.tensor([[math.log(3)]], requires_grad=True)
    other = torch.tensor([[math.log(3)]], requires_grad=True)
    loss = pairwise_cost_loss(high, other, UNSAFE, SAFE, SAFE)
    assert loss.item() == pytest.approx(math.log(2) + 2 * math.log(4))
    loss.backward()
    assert high.grad is not None
    assert other.grad is not None
    # The label pulls both down by sigmoid(ln 3) = 3/4; the comparison lifts the first and lowers the second by 1/2.
    assert (high.grad.item(), other.grad.item()) == (pytest.approx(0.25), pytest.approx(1.25))


def test_a_pair_that_nobody_compared_gives_its_labels_only() -> None:
    first, second = torch.tensor([[0.7]]), torch.tensor([[-2.0]])
    signs = semantic_cost_loss(torch.cat([first, second]), torch.tensor([[1.0], [0.0]]))
    assert pairwise_cost_loss(first, second, SAFE, UNSAFE, SAFE).item() == pytest.approx(2 * signs.item())


def test_pairwise_cost_loss_is_smoothed_in_all_three_terms() -> None:
    # s = 0.2: targets 0.9 and 0.1, entropy at logits 0 stays log 2; at the best logits the gradient is 0
    first = torch.tensor([[math.log(9.0)]], requires_grad=True)
    pairwise_cost_loss(first, torch.zeros(1, 1), UNSAFE, UNSAFE, SAFE, label_smoothing=0.2).backward()
    assert first.grad is not None
    assert first.grad.item() == pytest.approx(0.0, abs=1e-6)


@given(st.integers(0, 10_000))
def test_pairwise_cost_loss_does_not_care_which_response_comes_first(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    unsafe = torch.randint(0, 2, (2, 5, 3), generator=generator).double()
    order = torch.randint(-1, 2, (5, 3), generator=generator).double()
    there = pairwise_cost_loss(first, second, order, unsafe[0], unsafe[1], 0.1)
    back = pairwise_cost_loss(second, first, -order, unsafe[1], unsafe[0], 0.1)
    assert torch.allclose(there, back)
