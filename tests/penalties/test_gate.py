"""A gate that looks at other answers than those it acts on: where each answer's weights come from, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.constraints import Chance, Constraints, CVaR, Pessimistic
from csrlhf.errors import UserError
from csrlhf.ops.advantages import mix
from csrlhf.penalties import (
    Adaptive,
    Huber,
    LogBarrier,
    Penalty,
    Rectified,
    Softplus,
    Squared,
    Switching,
)
from csrlhf.penalties.base import GATES
from csrlhf.penalties.gate import Gate, Weighed
from csrlhf.types import Layout

COSTS = torch.tensor([1.0, 0, 0, 0, 0, 1, 0, 0])
"""Of eight answers; a threshold of 0.25 is just met by all of them together."""


def weigh(
    penalty: Penalty, cost_N: Tensor, threshold: float, per_prompt: int = 1, first: int = 0, size: int | None = None
) -> Weighed:
    penalty.setup(["harm"])
    gate = Gate(penalty.gate, 1)
    layout = Layout(per_prompt, first, size, gate.parts(len(cost_N), per_prompt))
    constraints = Constraints({"harm": Chance(threshold)})
    state = constraints((cost_N - 0.5).unsqueeze(-1)[layout.here], lambda _: cost_N, layout=layout)
    return gate.weigh(penalty, state.violation_K, state.stderr_K, state.rest, layout)


def rectified(gate: str, **options: float) -> Rectified:
    return Rectified(4.0, **{"margin_z": 0.0, **options}, gate=gate)  # type: ignore[arg-type]


def test_each_answer_is_gated_by_all_others() -> None:
    """Without a safe answer the rest costs 2/7, above 1/4; without an unsafe one 1/7, below it."""
    weighed = weigh(rectified("leave_one_out"), COSTS, 0.25)
    assert weighed.weights.cost_K.flatten().tolist() == [0.0, 4, 4, 4, 4, 0, 4, 4]
    assert weighed.weights.reward.tolist() == [1.0] * 8
    assert weighed.weights.total.tolist() == [5.0] * 8
    assert weighed.cost_K.tolist() == [3.0]
    assert weighed.open_K.tolist() == [0.75]
    assert weigh(rectified("batch"), COSTS, 0.25).weights.cost_K.tolist() == [0.0]  # J = d: the batch's own is closed


@pytest.mark.parametrize("kind", [Huber, Softplus, Squared, LogBarrier])
def test_smooth_strategies_look_at_all_others_too(kind: Any) -> None:
    """Each response's weight is what the violation of the other seven asks for: 2/7 - 1/4 or 1/7 - 1/4."""
    asked = kind(4.0, gate="leave_one_out")
    weighed = weigh(asked, COSTS, 0.25)
    alone = [asked.weights(torch.tensor([share / 7 - 0.25])).cost_K.item() for share in (1, 2)]
    expected = [alone[0] if cost else alone[1] for cost in COSTS.tolist()]
    assert weighed.weights.cost_K.flatten().tolist() == pytest.approx(expected)
    assert alone[0] < alone[1]


def test_what_shares_a_prompt_is_left_out_together() -> None:
    """Prompts (1 0) (0 0) (0 1) (0 0): without the first or third 1/6 is left, without the others 2/6."""
    weighed = weigh(rectified("leave_one_out"), COSTS, 0.25, per_prompt=2)
    assert weighed.weights.cost_K.flatten().tolist() == [0.0, 0, 4, 4, 0, 0, 4, 4]


def test_two_halves_gate_each_other() -> None:
    """Prompts 0, 2, 4, 6 cost 1/4, the others 1/4; with one more unsafe answer among the even ones they part."""
    costs = torch.tensor([1.0, 0, 1, 0, 0, 1, 0, 0])
    weighed = weigh(rectified("held_out"), costs, 0.3)
    assert weighed.weights.cost_K.flatten().tolist() == [0.0, 4, 0, 4, 0, 4, 0, 4]  # odd ones see 2/4, even ones 1/4
    pairs = weigh(rectified("held_out"), costs, 0.3, per_prompt=2)
    assert pairs.weights.cost_K.flatten().tolist() == [0.0, 0, 4, 4, 0, 0, 4, 4]  # (1 0) (0 0) see (1 0) (0 1)...


def test_the_iteration_before_gates_this_one() -> None:
    penalty, gate = rectified("previous"), Gate("previous", 1)
    penalty.setup(["harm"])
    found = []
    for violation in (0.1, -0.1, 0.2):
        found.append(gate.weigh(penalty, torch.tensor([violation]), torch.tensor([0.0])).weights.cost_K.item())
        gate.remember(torch.tensor([violation]), torch.tensor([0.0]))
    assert found == [4.0, 4.0, 0.0]  # the first has none before it
    again = Gate("previous", 1)
    again.load_state_dict(gate.state_dict())
    assert again.weigh(penalty, torch.tensor([-0.1]), torch.tensor([0.0])).weights.cost_K.item() == 4.0


def test_a_process_finds_the_weights_of_its_own_answers() -> None:
    whole = weigh(rectified("leave_one_out"), COSTS, 0.25)
    second = weigh(rectified("leave_one_out"), COSTS, 0.25, first=3, size=3)
    assert second.weights.cost_K.tolist() == whole.weights.cost_K[3:6].tolist()
    assert second.cost_K == whole.cost_K


def test_the_margin_is_that_of_the_others() -> None:
    """Seven answers, one unsafe: J = 1/7, standard error sqrt(1/7 · 6/7 / 6) = 1/7; J + 1/7 is just above 0.28."""
    weighed = weigh(rectified("leave_one_out", margin_z=1.0), COSTS, 0.28)
    assert weighed.weights.cost_K.flatten().tolist() == [4.0] * 8
    weighed = weigh(rectified("leave_one_out", margin_z=1.0), COSTS, 0.29)
    assert weighed.weights.cost_K.flatten().tolist() == [0.0, 4, 4, 4, 4, 0, 4, 4]


def test_reward_weights_follow_their_answer_too() -> None:
    weighed = weigh(Switching(gate="leave_one_out"), COSTS, 0.25)
    assert weighed.weights.reward.tolist() == [1.0, 0, 0, 0, 0, 1, 0, 0]
    assert weighed.weights.total.tolist() == [1.0] * 8


def test_the_adaptive_duty_cycle_is_the_share_of_answers() -> None:
    penalty = Adaptive(2.0, margin_z=0.0, gate="leave_one_out")
    weighed = weigh(penalty, COSTS, 0.25)
    penalty.update(torch.tensor([0.0]), open_K=weighed.open_K)
    assert penalty.duty().item() == pytest.approx(0.75)


def test_weights_of_an_answer_are_those_of_its_tokens() -> None:
    reward_BT, cost_BTK = torch.ones(2, 3), torch.full((2, 3, 1), 2.0)
    weights = torch.tensor([1.0, 0.5]), torch.tensor([[0.0], [4.0]]), torch.tensor([5.0, 10.0])
    assert mix(reward_BT, cost_BTK, *weights).tolist() == [[pytest.approx(0.2)] * 3, [pytest.approx(-0.75)] * 3]
    assert mix(reward_BT[:, 0], cost_BTK[:, 0], *weights).tolist() == [pytest.approx(0.2), pytest.approx(-0.75)]


STATISTICS = [CVaR(0.3, alpha=0.5), Pessimistic(0.3), Chance(0.3, window=12), Chance(0.3, ema=0.5)]


@pytest.mark.parametrize("constraint", STATISTICS, ids=lambda one: type(one).__name__)
def test_any_statistic_is_measured_without_a_part(constraint: Chance) -> None:
    """As if the other answers alone had been measured, on a memory that stands as it did before."""
    logits_N = torch.linspace(-2, 2, 8)[torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])]
    constraint(logits_N.flip(0), remember=True)
    layout = Layout(2, part_N=torch.arange(8) // 2)
    before = {key: value.clone() for key, value in constraint.state_dict().items()}
    found = constraint(logits_N, remember=True, layout=layout)
    for part in range(4):
        constraint.load_state_dict(before)
        alone = constraint(logits_N[layout.part_N != part], remember=True, layout=Layout(2))
        assert found.rest[0][part].item() == pytest.approx(alone.value.item())
        assert found.rest[1][part].item() == pytest.approx(alone.stderr.item())


@pytest.mark.parametrize("kind", GATES)
def test_one_prompt_has_no_others(kind: str) -> None:
    gate = Gate(kind, 1)
    if kind in ("batch", "previous"):
        assert gate.parts(4, 4) is None
        return
    with pytest.raises(UserError, match=rf"penalty\.gate={kind}: 4 responses to one prompt"):
        gate.parts(4, 4)


def test_an_average_has_the_previous_iteration_already() -> None:
    with pytest.raises(UserError, match=r"penalty\.gate=previous"):
        Rectified(ema=0.5, gate="previous")
    with pytest.raises(UserError, match=r"penalty\.gate='half'"):
        Rectified(gate="half")


def test_a_plug_in_that_knows_of_no_layout_goes_with_gates_that_need_none() -> None:
    class Own(Chance):
        def forward(self, cost_logits_B, gather=lambda value: value, remember=False):  # type: ignore[override]
            return super().forward(cost_logits_B, gather, remember)

    constraints, logits = Constraints({"harm": Own(0.3)}), (COSTS - 0.5).unsqueeze(-1)
    assert constraints(logits).value_K.item() == 0.25
    with pytest.raises(UserError, match=r"constraints\.harm: Own\.forward gives no statistic .* penalty\.gate=batch"):
        constraints(logits, layout=Layout(part_N=torch.arange(8)))
