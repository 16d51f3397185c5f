"""``rectified`` by hand: the gate, margins, the moving average, normalisers."""

from __future__ import annotations

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.penalties import Rectified


def ready(*names: str, **options) -> Rectified:
    penalty = Rectified(**({"margin_z": 0.0} | options))
    penalty.setup(names or ["harm"])
    return penalty


def gate(penalty: Rectified, violation: float, stderr: float | None = None) -> float:
    return penalty.weights(torch.tensor([violation]), None if stderr is None else torch.tensor([stderr])).cost_K.item()


def test_plain_gate_is_lambda_or_nothing() -> None:
    penalty = ready(multiplier=4.0)
    assert [gate(penalty, v) for v in (-0.5, -1e-6, 0.0, 1e-6, 0.5)] == [0.0, 0.0, 0.0, 4.0, 4.0]
    assert penalty.weights(torch.tensor([0.5])).reward.item() == 1.0


def test_each_constraint_has_its_own_gate() -> None:
    penalty = ready("harm", "privacy", multiplier={"harm": 4.0, "privacy": 2.0})
    assert penalty.weights(torch.tensor([-0.1, 0.1])).cost_K.tolist() == [0.0, 2.0]
    assert penalty.weights(torch.tensor([-0.1, 0.1])).total.item() == 7.0


def test_margin_z_is_z_standard_errors() -> None:
    penalty = ready(multiplier=4.0, margin_z=2.0)
    assert [gate(penalty, v, stderr=0.05) for v in (-0.11, -0.09)] == [0.0, 4.0]
    assert gate(penalty, -0.01) == 0.0  # no standard error, no margin


@pytest.mark.parametrize("margin_z", [0.0, 2.0])
@pytest.mark.parametrize("unknown", [float("inf"), float("nan")])
def test_an_unknown_standard_error_is_no_margin_and_shuts_no_gate(margin_z: float, unknown: float) -> None:
    """A constraint of somebody's own may say so of a single answer; 0 · inf is above nothing."""
    penalty = ready(multiplier=4.0, margin_z=margin_z)
    assert [gate(penalty, v, stderr=unknown) for v in (-0.1, 0.1)] == [0.0, 4.0]


def test_moving_average_with_bias_correction() -> None:
    penalty = ready(multiplier=1.0, ema=0.5)
    assert gate(penalty, 0.2) == 1.0  # the first batch counts whole: .5 * .2 / (1 - .5)
    penalty.update(torch.tensor([0.2]))
    # (.25 * .2 + .5 v) / .75 crosses 0 at v = -.1
    assert [gate(penalty, v) for v in (-0.11, -0.09)] == [0.0, 1.0]
    penalty.update(torch.tensor([-0.2]))
    # (.125 * .2 + .25 * -.2 + .5 v) / .875 crosses 0 at v = .05
    assert [gate(penalty, v) for v in (0.04, 0.06)] == [0.0, 1.0]


def test_margin_of_an_average_is_the_standard_error_of_that_average() -> None:
    penalty = ready(multiplier=1.0, ema=0.5, margin_z=1.0)
    assert [gate(penalty, v, stderr=0.1) for v in (-0.101, -0.099)] == [0.0, 1.0]  # one batch: se as it is
    penalty.update(torch.tensor([0.0]))
    # weights 1/3 and 2/3: se √5/3 · .1 = .0745; the average is 2/3 v
    assert [gate(penalty, v, stderr=0.1) for v in (-0.113, -0.111)] == [0.0, 1.0]


def test_reading_the_weights_leaves_the_state_alone() -> None:
    penalty = ready(multiplier=1.0, ema=0.9)
    penalty.weights(torch.tensor([0.5]))
    assert penalty.violation_ema_K.item() == 0.0
    assert int(penalty.num_updates) == 0


@pytest.mark.parametrize(
    ("normaliser", "closed", "opened"), [("fixed", 5.0, 5.0), ("none", 1.0, 1.0), ("weights", 1.0, 5.0)]
)
def test_normalisers(normaliser: str, closed: float, opened: float) -> None:
    penalty = ready(multiplier=4.0, normaliser=normaliser)
    assert penalty.weights(torch.tensor([-1.0])).total.item() == closed
    assert penalty.weights(torch.tensor([1.0])).total.item() == opened


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"margin_z": -1.0}, r"penalty\.margin_z=-1\.0"),
        ({"ema": 1.0}, r"penalty\.ema=1\.0"),
        ({"normaliser": "gate"}, r"penalty\.normaliser='gate': choose one of fixed, none, weights"),
    ],
)
def test_out_of_range_names_the_key(options: dict, key: str) -> None:
    with pytest.raises(UserError, match=key):
        Rectified(**options)
