"""``chance``: indicators by hand, and thresholds that no policy could cross."""

from __future__ import annotations

import pytest
import torch

from csrlhf.constraints import Chance
from csrlhf.errors import UserError


def test_indicator_is_strict_at_tau() -> None:
    assert Chance(0.1, tau=0.5).sample_costs(torch.tensor([0.4, 0.5, 0.6])).tolist() == [0.0, 0.0, 1.0]


def test_the_statistic_is_a_rate() -> None:
    statistic = Chance(0.1)(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    assert Chance.is_rate
    assert statistic.value.item() == 0.75
    assert statistic.threshold.item() == pytest.approx(0.1)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_unreachable_threshold_names_the_key(threshold: float) -> None:
    with pytest.raises(UserError, match=rf"constraints\.<name>\.threshold={threshold}"):
        Chance(threshold)


@pytest.mark.parametrize("tau", [float("nan"), float("inf"), float("-inf")])
def test_a_tau_that_no_logit_compares_with_names_the_key(tau: float) -> None:
    with pytest.raises(UserError, match=rf"constraints\.<name>\.tau={tau}"):
        Chance(0.1, tau=tau)
