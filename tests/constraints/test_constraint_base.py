"""Statistics over ranks: halves that are averaged give what the whole batch gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from csrlhf.constraints import Chance, Constraints, Mean
from csrlhf.errors import UserError


def ranks_of(constraints: Constraints, parts: list[Tensor]) -> list:
    """What every rank computes when ``reduce`` averages what all ranks hand in."""
    handed_in: list[list[Tensor]] = []

    def record(calls: list[Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda value: calls.append(value) or value

    for part in parts:
        calls: list[Tensor] = []
        constraints(part, record(calls), len(parts))
        handed_in.append(calls)
    averages = [torch.stack(values).mean(dim=0) for values in zip(*handed_in, strict=True)]
    states = []
    for part in parts:
        answers = iter(averages)
        states.append(constraints(part, lambda value, answers=answers: next(answers), len(parts)))
    return states


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_rank_split_equals_the_whole(num_ranks: int, per_rank: int, seed: int) -> None:
    logits = torch.randn(num_ranks * per_rank, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    constraints = Constraints({"harm": Chance(0.3), "privacy": Mean(0.2)})
    whole = constraints(logits)
    for state in ranks_of(constraints, list(logits.chunk(num_ranks))):
        torch.testing.assert_close(state.value_K, whole.value_K)
        torch.testing.assert_close(state.stderr_K, whole.stderr_K)
        torch.testing.assert_close(state.violation_K, whole.violation_K)


def test_value_and_stderr_by_hand() -> None:
    state = Constraints({"harm": Chance(0.3)})(torch.tensor([[1.0], [-1.0], [-2.0], [3.0]]))
    assert state.value_K.item() == 0.5
    assert state.violation_K.item() == pytest.approx(0.2)
    assert state.stderr_K.item() == pytest.approx((1 / 3 / 4) ** 0.5)  # sample variance 1/3, four samples


def test_one_sample_has_no_spread() -> None:
    assert Constraints({"harm": Mean(0.3)})(torch.tensor([[1.0]])).stderr_K.item() == 0.0


def test_columns_follow_the_names_order() -> None:
    logits = torch.tensor([[9.0, -9.0], [9.0, -9.0]])
    constraints = Constraints({"privacy": Chance(0.5), "harm": Chance(0.25)})
    state = constraints(logits)
    assert constraints.names == ("privacy", "harm")
    assert state.value_K.tolist() == [1.0, 0.0]
    assert state.threshold_K.tolist() == [0.5, 0.25]
    assert state.sample_cost_BK.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_costs_carry_no_gradient() -> None:
    logits = torch.tensor([[0.3]], requires_grad=True)
    assert not Constraints({"harm": Mean(0.5)})(logits).sample_cost_BK.requires_grad


def test_outputs_and_names_must_match() -> None:
    with pytest.raises(UserError, match=r"1 named \(harm\) but the cost model has 2 outputs"):
        Constraints({"harm": Chance()})(torch.zeros(3, 2))


def test_no_constraint_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match="constraints: the set is empty"):
        Constraints({})
