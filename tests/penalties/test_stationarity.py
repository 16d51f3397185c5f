"""Why Z is constant: an analytic problem with one parameter (docs/explanation/algorithm.md).

Maximise ``r(x) = a x`` under ``J(x) = x <= d`` with the gated direction ``(a - w(x)) / Z``. The optimal dual
variable is λ* = a. A constant Z holds x at d with the gate open λ*/λ of the time; a Z that follows the gate makes
steps of a / 1 while it is closed and (λ - a) / (1 + λ) while it is open, so that it is open
λ*(1+λ) / (λ(1+λ*)) of the time.
"""

from __future__ import annotations

import pytest
import torch

from csrlhf.penalties import Rectified

OPTIMAL = 1.5


def duty(multiplier: float, normaliser: str, steps: int = 4000, lr: float = 1e-3) -> float:
    """Share of the last half of the steps in which the gate is open."""
    penalty = Rectified(multiplier, normaliser=normaliser)
    penalty.setup(["harm"])
    x, threshold, opened = 0.0, 0.05, []
    for _ in range(steps):
        weights = penalty.weights(torch.tensor([x - threshold]))
        cost_weight = weights.cost_K.item()
        x += lr * (weights.reward.item() * OPTIMAL - cost_weight) / weights.total.item()
        opened.append(float(cost_weight > 0))
    assert abs(x - threshold) < 0.01
    return sum(opened[steps // 2 :]) / (steps // 2)


@pytest.mark.parametrize("multiplier", [3.0, 12.0])
def test_duty_cycle_at_stationarity(multiplier: float) -> None:
    constant = OPTIMAL / multiplier
    following = OPTIMAL * (1 + multiplier) / (multiplier * (1 + OPTIMAL))
    assert duty(multiplier, "fixed") == pytest.approx(constant, abs=0.01)
    assert duty(multiplier, "none") == pytest.approx(constant, abs=0.01)
    assert duty(multiplier, "weights") == pytest.approx(following, abs=0.01)
