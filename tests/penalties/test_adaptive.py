"""``adaptive`` by hand: the duty cycle, both moves of λ, its bounds."""

from __future__ import annotations

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.penalties import Adaptive
from csrlhf.penalties.base import ask_update


def ready(*names: str, **options) -> Adaptive:
    penalty = Adaptive(**({"margin_z": 0.0} | options))
    penalty.setup(names or ["harm"])
    return penalty


def weight(penalty: Adaptive, *violation: float) -> list[float]:
    return penalty.weights(torch.tensor(violation)).cost_K.tolist()


def run(penalty: Adaptive, *violations: float) -> list[float]:
    """λ after each iteration."""
    path = []
    for violation in violations:
        weight(penalty, violation)
        penalty.update(torch.tensor([violation]))
        path.append(penalty.multiplier_K.item())
    return path


def test_a_gate_that_is_always_open_raises_lambda() -> None:
    path = run(ready(multiplier=2.0, rate=0.5, duty_ema=0.5), 0.1, 0.1)
    assert path == pytest.approx([3.0, 4.5])


def test_else_lambda_moves_towards_the_margin_times_its_estimate() -> None:
    penalty = ready(multiplier=2.0, margin=3.0, rate=0.1, duty_ema=0.5)
    assert run(penalty, 0.1) == pytest.approx([2.2])
    # duty = (1 · 1/3 + 0 · 2/3) = 1/3: λ̂* = 2.2 / 3, and 3 λ̂* = 2.2 is where λ already stands
    assert run(penalty, -0.1) == pytest.approx([2.2])
    assert penalty.metrics()["penalty/estimate"].item() == pytest.approx(2.2 / 3)
    # duty = (1/4 · 1/2) / (7/8) = 1/7: towards 3/7 λ by a tenth of the way
    assert run(penalty, -0.1) == pytest.approx([2.2 * (1 - 0.1 * 4 / 7)])


def test_bounds() -> None:
    penalty = ready(multiplier=2.0, rate=0.5, max_multiplier=2.5, min_multiplier=1.5)
    assert run(penalty, 0.1) == [2.5]
    assert run(ready(multiplier=2.0, rate=0.5, max_multiplier=2.5, min_multiplier=1.5), -0.1) == [1.5]


def test_weights_and_normaliser_are_those_of_the_rectified_penalty() -> None:
    penalty = ready("harm", "privacy", multiplier={"harm": 2.0, "privacy": 4.0})
    weights = penalty.weights(torch.tensor([0.1, -0.1]))
    assert (weights.cost_K.tolist(), weights.total.item()) == ([2.0, 0.0], 7.0)
    penalty.update(torch.tensor([0.1, -0.1]))
    moved = penalty.weights(torch.tensor([-0.1, -0.1]))  # Z follows λ, and not the gate
    assert moved.total.item() == pytest.approx(1 + penalty.multiplier_K.sum().item())


def test_the_duty_cycle_is_that_of_the_gate_with_its_margin() -> None:
    penalty = ready(multiplier=2.0, margin_z=2.0)
    weights = penalty.weights(torch.tensor([-0.05]), torch.tensor([0.03]))
    ask_update(penalty, torch.tensor([-0.05]), open_K=(weights.cost_K > 0).float())
    assert penalty.duty().item() == 1.0
    ask_update(penalty, torch.tensor([-0.05]), open_K=torch.tensor([0.25]))
    assert penalty.duty().item() == pytest.approx((0.95 * 0.05 + 0.05 * 0.25) / (1 - 0.95**2))


def test_several_constraints_log_their_own_estimates() -> None:
    metrics = ready("harm", "privacy", multiplier=2.0).metrics()
    assert set(metrics) == {
        f"penalty/{name}/{key}" for name in ("harm", "privacy") for key in ("multiplier", "estimate")
    }


@pytest.mark.parametrize(("start", "words"), [(9.0, "starts above"), (0.5, "starts below")])
def test_a_start_outside_the_bounds_is_refused_and_not_cut_in_silence(start: float, words: str) -> None:
    with pytest.raises(UserError, match=rf"penalty\.multiplier={start:g}: {words}"):
        ready(multiplier=start, min_multiplier=1.0, max_multiplier=8.0)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"margin": 1.0}, r"penalty\.margin=1\.0: must be above 1"),
        ({"rate": 1.0}, r"penalty\.rate=1\.0"),
        ({"duty_ema": -0.1}, r"penalty\.duty_ema=-0\.1"),
        ({"margin": 2.0, "saturation": 0.5}, r"penalty\.saturation=0\.5: must be in \(1 / penalty\.margin, 1\]"),
        ({"margin_z": -1.0}, r"penalty\.margin_z=-1\.0"),
        ({"ema": 1.0}, r"penalty\.ema=1\.0"),
        ({"min_multiplier": 2.0, "max_multiplier": 1.0}, r"penalty\.min_multiplier=2\.0, penalty\.max_multiplier=1\.0"),
    ],
)
def test_out_of_range_names_the_key(options: dict, key: str) -> None:
    with pytest.raises(UserError, match=key):
        Adaptive(**options)
