"""Moments of a batch, of a mixture, and the standard error of a mean with a margin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.constraints.memory import Moments


def test_the_docstring_s_example() -> None:
    moments = Moments.of(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    found = [moments.count, moments.mean, moments.variance, moments.third, moments.fourth]
    assert [float(value) for value in found] == pytest.approx([4, 1 / 4, 3 / 16, 3 / 32, 21 / 256])
    assert moments.deviation.item() == pytest.approx(0.5)  # 3/16 · 4/3 = 1/4
    assert moments.stderr().item() == pytest.approx(0.25)


def test_one_answer_has_no_spread() -> None:
    moments = Moments.of(torch.tensor([0.7]))
    assert moments.deviation.item() == moments.stderr().item() == moments.stderr(2.0).item() == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 30), st.floats(0, 3), st.integers(0, 99))
def test_the_margin_s_error_is_the_deviation_of_the_influences(count: int, kappa: float, seed: int) -> None:
    cost_N = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moments = Moments.of(cost_N)
    influence_N = cost_N + kappa * (cost_N**2 - 2 * cost_N * cost_N.mean()) / (2 * cost_N.std())
    expected = influence_N.var(correction=0) / (count - 1)
    torch.testing.assert_close(moments.stderr(kappa) ** 2, expected, atol=1e-12, rtol=1e-9)


def test_a_mixture_of_equal_parts_has_the_mean_and_variance_of_both_together() -> None:
    first, second = torch.rand(6), torch.rand(6) + 1
    blended, whole = Moments.of(first).blend(Moments.of(second), 0.5), Moments.of(torch.cat([first, second]))
    assert blended.count == pytest.approx(12)
    torch.testing.assert_close(blended.mean, whole.mean)
    torch.testing.assert_close(blended.variance, whole.variance)


def test_equal_costs_have_no_deviation_but_rounding() -> None:
    assert Moments.of(torch.full((1000,), 0.7310586)).deviation.item() < 1e-6
