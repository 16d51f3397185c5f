"""State that is converted with its module: it may get wider, never narrower, and whole numbers stay whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from csrlhf.constraints import Constraint, CVaR, Mean, Pessimistic
from csrlhf.penalties.base import PenaltyMonitor
from csrlhf.state import PreciseState


class Some(PreciseState):
    """A number that bfloat16 does not have, and a count."""

    number: Tensor
    wide: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("number", torch.tensor(1.001))
        self.register_buffer("wide", torch.tensor(1.001, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(257))  # bfloat16's next neighbours are 256 and 258
        self.register_buffer("nothing", None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_narrower_type_leaves_every_bit(dtype: torch.dtype) -> None:
    state, before = Some(), Some().state_dict()
    linear = nn.Linear(1, 1)
    nn.Sequential(linear, state).to(dtype)  # as Lightning converts the module that holds it
    assert linear.weight.dtype == dtype
    for key, value in before.items():
        assert state.state_dict()[key].dtype == value.dtype
        assert torch.equal(state.state_dict()[key], value)


def test_a_wider_type_is_taken() -> None:
    state = Some().double()
    assert (state.number.dtype, state.wide.dtype, state.count.dtype) == (torch.float64, torch.float64, torch.int64)
    assert state.number.item() == torch.tensor(1.001).item()


@pytest.mark.parametrize(
    "constraint",
    [Mean(0.5, "logit", window=7), Mean(0.5, "logit", ema=0.9), CVaR(0.5, 0.5, window=7), Pessimistic(ema=0.9)],
    ids=["window", "ema", "cvar", "pessimistic"],
)
def test_a_constraint_s_memory_is_not_rounded(constraint: Constraint) -> None:
    batches = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    found: list[list[Tensor]] = []
    for convert in (False, True):
        constraint.load_state_dict({key: torch.zeros_like(value) for key, value in constraint.state_dict().items()})
        if convert:
            constraint.to(torch.bfloat16)
        found.append([constraint(batch, remember=True).value for batch in batches])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_a_long_run_s_violations_go_on_adding_up() -> None:
    """In bfloat16 a sum stops at 8 where each step adds a hundredth."""
    monitor = PenaltyMonitor(1).to(torch.bfloat16)
    for _ in range(1000):
        monitor.update(torch.tensor([1.0]), torch.tensor([0.01]))
    assert monitor.cumulative_K.item() == pytest.approx(10.0, rel=1e-3)
