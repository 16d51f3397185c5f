"""The controller of the KL coefficient, by hand; its state keeps its precision and is checkpointed."""

from __future__ import annotations

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.training.ppo.rewards import KLControl


def adaptive(coef: float = 0.1, target: float = 6.0, horizon: float = 1000) -> KLControl:
    return KLControl("adaptive", coef, target, horizon)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.1),
        (5.4, 0.1 * (1 - 0.1 * 0.1)),  # error -10 %, a tenth of the horizon
        (6.9, 0.1 * (1 + 0.15 * 0.1)),
        (9.0, 0.1 * (1 + 0.2 * 0.1)),  # clipped
        (0.0, 0.1 * (1 - 0.2 * 0.1)),
        (-3.0, 0.1 * (1 - 0.2 * 0.1)),  # a mean of k1 may be negative
    ],
)
def test_a_step_by_hand(kl: float, expected: float) -> None:
    control = adaptive()
    control.update(torch.tensor(kl, dtype=torch.float64), 100)
    assert control.coef.item() == pytest.approx(expected, rel=1e-12)


def test_a_fixed_coefficient_stays() -> None:
    control = KLControl("fixed", 0.1, 6.0, 1.0)
    control.update(torch.tensor(60.0), 100)
    assert control.coef.item() == 0.1


def test_it_leads_the_kl_to_its_target() -> None:
    """A policy whose KL is inverse to β, as that of a KL-regularised bandit with Gaussian rewards nearly is."""
    control = adaptive(coef=1.0, horizon=500)
    for _ in range(300):
        control.update(0.9 / control.coef, 100)
    assert 0.9 / control.coef.item() == pytest.approx(6.0, rel=1e-3)


def test_a_step_that_could_reach_zero_names_the_key() -> None:
    with pytest.raises(UserError, match=r"ppo\.kl_horizon=20: must be above 0\.2 x ppo\.batch_size=100"):
        adaptive(horizon=20).update(torch.tensor(6.0), 100)


def test_the_state_keeps_its_precision_and_comes_back() -> None:
    control = adaptive().to(torch.bfloat16)
    control.update(torch.tensor(6.06), 1)  # a step of 1e-5 of it, which bfloat16 does not have
    assert control.coef.dtype == torch.float64
    assert control.coef.item() == pytest.approx(0.1 * (1 + 0.01 / 1000), rel=1e-9)
    again = adaptive(coef=3.0)
    again.load_state_dict(control.state_dict())
    assert torch.equal(again.coef, control.coef)
