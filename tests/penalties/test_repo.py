"""``repo`` by hand: which prompts pay, and what moves the dual."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from csrlhf.constraints import Chance, Constraints, Mean
from csrlhf.errors import UserError
from csrlhf.penalties import RePO
from csrlhf.penalties.base import ask_update
from csrlhf.penalties.gate import Gate, Weighed
from csrlhf.types import Layout


def weigh(penalty: RePO, logit_N: Tensor, per_prompt: int = 1, here: slice = slice(None), **options: float) -> Weighed:
    penalty.setup(["harm"])
    gate = Gate(penalty.gate, 1)
    size = len(logit_N[here])
    parts = gate.parts(len(logit_N), per_prompt)
    layout = Layout(per_prompt, here.start or 0, size, parts, inside=True)
    constraints = Constraints({"harm": Mean(0.0, "logit", **options)})
    state = constraints(logit_N[here].unsqueeze(-1), lambda _: logit_N, remember=True, layout=layout)
    return gate.weigh(penalty, state.violation_K, state.stderr_K, state.rest, layout)


def test_a_prompt_pays_for_its_own_violation_whatever_the_others_make_of_the_mean() -> None:
    """Costs -9, 2, -9, 1: the mean is far below 0, and two prompts are above it all the same."""
    weighed = weigh(RePO(3.0), torch.tensor([-9.0, 2.0, -9.0, 1.0]))
    assert weighed.weights.cost_K.flatten().tolist() == [0.0, 3, 0, 3]
    assert weighed.weights.total.tolist() == [1.0, 4, 1, 4]  # (A_r - λ A_c) / (1 + λ) there, A_r elsewhere
    assert weighed.open_K.tolist() == [0.5]
    assert weighed.rectified_K.tolist() == [0.75]  # (0 + 2 + 0 + 1) / 4


def test_responses_to_one_prompt_are_judged_together() -> None:
    """Means 1 and -2: the second prompt's unsafe response pays nothing."""
    weighed = weigh(RePO(3.0), torch.tensor([3.0, -1.0, 1.0, -5.0]), per_prompt=2)
    assert weighed.weights.cost_K.flatten().tolist() == [3.0, 3, 0, 0]
    assert weighed.rectified_K.tolist() == [0.5]


def test_a_process_weighs_its_own_responses_and_all_find_one_mean() -> None:
    logits = torch.tensor([-9.0, 2.0, -9.0, 1.0])
    second = weigh(RePO(3.0), logits, here=slice(2, 4))
    assert second.weights.cost_K.flatten().tolist() == [0.0, 3.0]
    assert second.rectified_K.tolist() == [0.75]


def test_a_memory_of_earlier_batches_is_no_prompt_s_own() -> None:
    assert weigh(RePO(3.0), torch.tensor([-9.0, 2.0]), window=100).weights.cost_K.flatten().tolist() == [0.0, 3.0]


def test_the_dual_rises_by_what_is_rectified_and_falls_within_the_tolerance() -> None:
    penalty = RePO(1.0, lr=0.5, tolerance=0.25, max_multiplier=1.5)
    penalty.setup(["harm"])
    ask_update(penalty, torch.tensor([-4.0]), open_K=torch.tensor([0.5]), rectified_K=torch.tensor([0.75]))
    assert penalty.multiplier_K.tolist() == [1.25]  # the batch's mean of -4 has no part in it
    ask_update(penalty, torch.tensor([-4.0]), rectified_K=torch.tensor([0.0]))
    assert penalty.multiplier_K.tolist() == [1.125]
    for rectified, end in ((9.0, 1.5), (-1e9, 0.0)):
        ask_update(penalty, torch.tensor([0.0]), rectified_K=torch.tensor([rectified]))
        assert penalty.multiplier_K.tolist() == [end]


def test_costs_of_0_and_1_have_a_rate_to_hold() -> None:
    constraints, layout = Constraints({"harm": Chance(0.2)}), Layout(part_N=torch.arange(4), inside=True)
    state = constraints(torch.tensor([-1.0, 1.0, -1.0, -1.0]).unsqueeze(-1), layout=layout)
    penalty = RePO(2.0)
    penalty.setup(["harm"])
    weighed = Gate("prompt", 1).weigh(penalty, state.violation_K, state.stderr_K, state.rest, layout)
    assert weighed.weights.cost_K.flatten().tolist() == [0.0, 2, 0, 0]
    assert weighed.rectified_K.item() == pytest.approx(0.8 / 4)  # 1 - d, for one prompt in four


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": 0.0}, r"penalty\.lr=0\.0"), ({"tolerance": -0.1}, r"penalty\.tolerance=-0\.1: must be a finite"),
     ({"multiplier": 5.0, "max_multiplier": 2.0}, r"penalty\.multiplier=5: starts above")],
)  # fmt: skip
def test_out_of_range_names_the_key(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RePO(**options).setup(["harm"])  # type: ignore[arg-type]  # by name
