"""The contract: weights and their normaliser, one multiplier per constraint, and what holds for every strategy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.errors import UserError
from csrlhf.penalties import Lagrangian, Linear, NoPenalty, Penalty, Rectified, Weights

STRATEGIES: dict[str, Callable[[], Penalty]] = {
    "rectified": Rectified,
    "rectified_ema_margin": lambda: Rectified(ema=0.8, margin_z=1.0),
    "lagrangian_log": lambda: Lagrangian(lr=0.5),
    "lagrangian_projected": lambda: Lagrangian(lr=0.5, rule="projected"),
    "linear": lambda: Linear(3.0),
    "none": NoPenalty,
}
violations = st.floats(-1e6, 1e6, allow_nan=False)


def test_normaliser_defaults_to_the_sum_of_weights() -> None:
    assert Weights(torch.tensor(1.0), torch.tensor([2.0, 3.0])).total.item() == 6.0
    assert Weights(torch.tensor(1.0), torch.tensor([2.0, 3.0]), torch.tensor(9.0)).total.item() == 9.0


def test_weights_that_sum_to_nothing_are_an_error() -> None:
    with pytest.raises(UserError, match="a strategy must keep it positive"):
        Weights(torch.tensor(0.0), torch.tensor([0.0]))


def test_a_mapping_gives_each_constraint_its_own_multiplier() -> None:
    penalty = Linear({"privacy": 2.0, "harm": 5.0})
    penalty.setup(["harm", "privacy"])
    assert penalty.weights(torch.zeros(2)).cost_K.tolist() == [5.0, 2.0]
    assert {key: value.item() for key, value in penalty.metrics().items()} == {
        "penalty/harm/multiplier": 5.0,
        "penalty/privacy/multiplier": 2.0,
    }


def test_one_number_serves_all_constraints() -> None:
    penalty = Linear(4.0)
    penalty.setup(["harm", "privacy"])
    assert penalty.multiplier_K.tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    "mapping", [{"harm": 1.0}, {"harm": 1.0, "privacy": 1.0, "other": 1.0}, {"Harm": 1, "privacy": 1}]
)
def test_a_mapping_must_name_every_constraint_and_no_other(mapping: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"penalty\.multiplier: the mapping .* constraints are \['harm', 'privacy'\]"):
        Linear(mapping).setup(["harm", "privacy"])


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_multiplier_is_a_finite_number(value: float) -> None:
    with pytest.raises(UserError, match=rf"penalty\.multiplier={value}: must be a finite number >= 0"):
        Linear(value).setup(["harm"])


def test_the_base_class_leaves_scores_and_state_alone() -> None:
    penalty = Linear(2.0)
    penalty.setup(["harm"])
    reward = torch.tensor([1.0, -1.0])
    before = {key: value.clone() for key, value in penalty.state_dict().items()}
    penalty.update(torch.tensor([9.0]))
    assert torch.equal(penalty.shape(reward, torch.ones(2, 1), torch.zeros(1)), reward)
    assert all(torch.equal(before[key], value) for key, value in penalty.state_dict().items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_state_comes_back_from_a_state_dict(name: str) -> None:
    trained, fresh = STRATEGIES[name](), STRATEGIES[name]()
    for penalty in (trained, fresh):
        penalty.setup(["harm", "privacy"])
    for violation in (0.3, -0.2, 0.7):
        trained.update(torch.tensor([violation, -violation]))
    fresh.load_state_dict(trained.state_dict(), strict=True)
    for step in range(3):
        violation = torch.tensor([0.1, -0.05 * step])
        assert torch.equal(trained.weights(violation).cost_K, fresh.weights(violation).cost_K)
        trained.update(violation)
        fresh.update(violation)


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=25, deadline=None)
@given(history=st.lists(violations, max_size=5), low=violations, rise=st.floats(0, 1e6))
def test_weights_are_finite_non_negative_and_do_not_fall_with_the_violation(
    name: str, history: list[float], low: float, rise: float
) -> None:
    penalty = STRATEGIES[name]()
    penalty.setup(["harm"])
    for violation in history:
        penalty.update(torch.tensor([violation]))
    lower, higher = (penalty.weights(torch.tensor([v]), torch.tensor([0.01])) for v in (low, low + rise))
    for weights in (lower, higher):
        numbers = torch.stack([weights.reward, weights.cost_K[0], weights.total])
        assert bool(torch.isfinite(numbers).all())
        assert bool((numbers >= 0).all())
        assert not numbers.requires_grad
    assert lower.cost_K[0] <= higher.cost_K[0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_strategy_has_parameters_for_an_optimiser(name: str) -> None:
    penalty = STRATEGIES[name]()
    penalty.setup(["harm"])
    assert list(penalty.parameters()) == []
