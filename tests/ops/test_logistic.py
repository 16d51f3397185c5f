"""Penalised logistic regression against its definition, a closed form and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from csrlhf.ops.logistic import fit_logistic


def some_rows(count: int = 60, width: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, width, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 3.0]) + 5.0
    noisy = features[:, 0] - 5.0 + torch.randn(count, generator=generator) > 0
    return features, noisy.double().unsqueeze(1)


def test_two_rows_by_hand() -> None:
    """Standardised, the rows are -1 and 1: w solves ridge w = σ(-w), b is 0 there; in the rows' units x = 3 ± 2."""
    weight, bias = fit_logistic(torch.tensor([[1.0], [5.0]]), torch.tensor([[0.0], [1.0]]), ridge=0.1)
    w = 1.6335061702  # 0.1 w = 1 / (1 + e^w)
    assert 0.1 * w == pytest.approx(1 / (1 + math.exp(w)))
    assert weight.item() == pytest.approx(w / 2)
    assert bias.item() == pytest.approx(-3 * w / 2)


def test_it_is_the_solution_that_scikit_learn_finds() -> None:
    features, labels = some_rows()
    features = features.double()
    weight, bias = fit_logistic(features, labels, ridge=0.02)
    scaler = StandardScaler().fit(features.numpy())
    rows = scaler.transform(features.numpy())
    found = LogisticRegression(C=1 / (0.02 * len(rows)), tol=1e-10, max_iter=10_000).fit(rows, labels[:, 0].numpy())
    np.testing.assert_allclose((features @ weight.T + bias)[:, 0], found.decision_function(rows), atol=1e-4)


def test_scale_and_order_of_the_rows_change_nothing_and_outputs_are_solved_apart() -> None:
    features, labels = some_rows()
    both = torch.cat([labels, 1 - labels], dim=1)
    weight, bias = fit_logistic(features, both, ridge=0.1)
    torch.testing.assert_close(weight[0], -weight[1])
    other, shifted = fit_logistic((features * 7 - 3).flip(0), both.flip(0), ridge=0.1)
    torch.testing.assert_close(
        (features * 7 - 3).double() @ other.T + shifted, features.double() @ weight.T + bias, atol=1e-4, rtol=1e-4
    )


def test_a_constant_feature_and_a_single_class_stay_finite() -> None:
    features, labels = some_rows()
    weight, bias = fit_logistic(torch.cat([features, torch.ones(len(features), 1)], dim=1), labels, ridge=0.1)
    assert weight[0, -1].item() == 0.0
    weight, bias = fit_logistic(features, torch.zeros(len(features), 1), ridge=0.1)
    assert torch.isfinite(weight).all()
    assert torch.isfinite(bias).all()
    assert bool(((features.double() @ weight.T + bias) < -3).all())


def test_soft_targets_are_met_on_average() -> None:
    """The bias has no penalty: the mean probability is the mean target, as in every maximum of this likelihood."""
    features, labels = some_rows()
    soft = labels * 0.8 + 0.1
    weight, bias = fit_logistic(features, soft, ridge=0.1)
    probability = (features.double() @ weight.T + bias).sigmoid()
    assert probability.mean().item() == pytest.approx(soft.mean().item(), abs=1e-7)
