"""``sample_hinge`` by hand: the shaped reward, and what the rest of the system sees of it."""

from __future__ import annotations

import pytest
import torch

from csrlhf.constraints.set import ConstraintState
from csrlhf.errors import UserError
from csrlhf.penalties import SampleHinge
from csrlhf.penalties.base import PenaltyMonitor
from csrlhf.penalties.gate import Gate
from csrlhf.training.ppo.metrics import constraint_metrics


def ready(*names: str, **options) -> SampleHinge:
    penalty = SampleHinge(**options)
    penalty.setup(names or ["harm"])
    return penalty


def test_shaped_reward_by_hand() -> None:
    penalty = ready("harm", "privacy", multiplier={"harm": 4.0, "privacy": 2.0})
    reward = torch.tensor([1.0, 1.0, 1.0])
    cost = torch.tensor([[0.5, 0.0], [0.1, 0.9], [0.0, 0.0]])
    shaped = penalty.shape(reward, cost, torch.tensor([0.25, 0.4]))
    assert shaped.tolist() == pytest.approx(
        [0.0, 0.0, 1.0], abs=1e-6
    )  # 1 - 4 · .25; 1 - 2 · .5; nothing above a threshold


def test_costs_of_0_or_1_pay_lambda_times_1_minus_d() -> None:
    shaped = ready(multiplier=4.0).shape(torch.zeros(2), torch.tensor([[1.0], [0.0]]), torch.tensor([0.05]))
    assert shaped.tolist() == pytest.approx([-3.8, 0.0])


def test_weights_are_the_reward_alone_over_a_constant() -> None:
    for violation in (-1.0, 1.0):
        weights = ready(multiplier=4.0).weights(torch.tensor([violation]))
        assert (weights.reward.item(), weights.cost_K.item(), weights.total.item()) == (1.0, 0.0, 5.0)


def test_it_constrains_so_that_a_feasible_policy_is_handed_over() -> None:
    assert SampleHinge.constrains


def test_weight_and_gate_are_logged_as_nothing() -> None:
    penalty, monitor = ready(multiplier=4.0), PenaltyMonitor(1)
    violation = torch.tensor([0.2])
    weighed = Gate("batch", 1).weigh(penalty, violation, torch.tensor([0.01]))
    monitor.update(weighed.open_K, violation)
    value_K, stderr_K = torch.tensor([0.25]), torch.tensor([0.01])
    state = ConstraintState(value_K, stderr_K, torch.tensor([0.05]), torch.ones(4, 1), value_K, stderr_K)
    metrics = constraint_metrics(["harm"], state, weighed, monitor)
    assert (metrics["penalty/weight"].item(), metrics["penalty/gate"].item()) == (0.0, 0.0)
    assert metrics["constraint/harm/cumulative_violation"].item() == pytest.approx(0.2)
    assert penalty.metrics()["penalty/multiplier"].item() == 4.0


def test_out_of_range_names_the_key() -> None:
    with pytest.raises(UserError, match=r"penalty\.multiplier=-1\.0"):
        SampleHinge(-1.0).setup(["harm"])
