"""Statistics over processes: shares that are gathered give what the whole batch gives; sets of constraints."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from csrlhf.constraints import Chance, Constraint, Constraints, ConstraintState, CVaR, Mean, Pessimistic
from csrlhf.errors import UserError

MAKERS: dict[str, Callable[..., Constraint]] = {
    "chance": lambda **memory: Chance(0.3, **memory),
    "mean": lambda **memory: Mean(0.2, **memory),
    "cvar": lambda **memory: CVaR(0.4, alpha=0.4, **memory),
    "pessimistic": lambda **memory: Pessimistic(0.2, **memory),
}
MEMORIES = ({}, {"window": 5}, {"window": 100}, {"ema": 0.7})


def on_ranks(ranks: list[Constraints], shares: list[Tensor]) -> list[ConstraintState]:
    """What every process finds and keeps when a gather puts together what all of them hand in."""
    handed_in: list[list[Tensor]] = []
    for rank, share in zip(ranks, shares, strict=True):
        handed_in.append([])
        deepcopy(rank)(share, lambda rows: handed_in[-1].append(rows) or rows, remember=True)
    together = [torch.cat(rows) for rows in zip(*handed_in, strict=True)]
    states = []
    for rank, share in zip(ranks, shares, strict=True):
        answers = iter(together)
        states.append(rank(share, lambda rows, answers=answers: next(answers), remember=True))
    return states


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(MAKERS)),
    st.sampled_from(sorted(MAKERS)),
    st.sampled_from(MEMORIES),
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(0, 99),
)
def test_rank_split_equals_the_whole(
    first: str, second: str, memory: dict[str, float], num_ranks: int, per_rank: int, seed: int
) -> None:
    """J, its error, the sample costs and the state, bit for bit, over three batches."""
    noise = torch.Generator().manual_seed(seed)
    alone = Constraints({"harm": MAKERS[first](**memory), "privacy": MAKERS[second]()})
    ranks = [deepcopy(alone) for _ in range(num_ranks)]
    for _ in range(3):
        logits = torch.randn(num_ranks * per_rank, 2, generator=noise)
        whole = alone(logits, remember=True)
        states = on_ranks(ranks, list(logits.chunk(num_ranks)))
        for state in states:
            assert torch.equal(state.value_K, whole.value_K)
            assert torch.equal(state.stderr_K, whole.stderr_K)
            assert torch.equal(state.violation_K, whole.violation_K)
        assert torch.equal(torch.cat([state.sample_cost_BK for state in states]), whole.sample_cost_BK)
        for rank in ranks:
            for key, value in alone.state_dict().items():
                assert torch.equal(rank.state_dict()[key], value), key


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


def test_an_error_within_a_constraint_names_it() -> None:
    constraints = Constraints({"harm": Chance(), "privacy": CVaR(0.4, alpha=0.9)})
    with pytest.raises(UserError, match=r"constraints\.privacy\.alpha=0\.9: the worst 0\.1 of 9 responses .* take 10"):
        constraints(torch.zeros(9, 2))


def test_costs_are_each_answer_s_own() -> None:
    constraints = Constraints({"harm": Pessimistic(0.2), "privacy": CVaR(2.0, scale="logit")})
    assert constraints.costs(torch.tensor([[0.0, 3.0]])).tolist() == [[0.5, 3.0]]
