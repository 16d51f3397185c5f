"""Duty cycle and cumulative violation by hand."""

from __future__ import annotations

import pytest
import torch

from csrlhf.penalties.base import PenaltyMonitor


def opened(*share: float) -> torch.Tensor:
    return torch.tensor(share)


def test_duty_is_an_average_without_a_bias_towards_the_start() -> None:
    monitor = PenaltyMonitor(2, decay=0.5)
    assert monitor.duty().tolist() == [0.0, 0.0]
    monitor.update(opened(1.0, 0.0), torch.zeros(2))
    assert monitor.duty().tolist() == [1.0, 0.0]
    monitor.update(opened(0.0, 0.0), torch.zeros(2))
    assert monitor.duty().tolist() == [pytest.approx(1 / 3), 0.0]  # weights 1/3 and 2/3


def test_cumulative_violation_takes_the_positive_part() -> None:
    monitor = PenaltyMonitor(1)
    for violation in (0.5, -2.0, 0.25):
        monitor.update(opened(1.0), torch.tensor([violation]))
    assert monitor.cumulative_K.tolist() == [0.75]


def test_figures_come_back_from_a_state_dict() -> None:
    monitor, fresh = PenaltyMonitor(1), PenaltyMonitor(1)
    monitor.update(opened(1.0), torch.tensor([0.5]))
    fresh.load_state_dict(monitor.state_dict(), strict=True)
    assert torch.equal(fresh.duty(), monitor.duty())
    assert torch.equal(fresh.cumulative_K, monitor.cumulative_K)
