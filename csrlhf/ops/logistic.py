"""Penalised logistic regression, solved to its optimum: the head of a model whose states do not change.

Legend of suffixes: N rows, H features, K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_STEPS = 100
"""Newton needs about ten; halved steps may make it more."""

TOLERANCE = 1e-9
"""Of the gradient's norm, in units of standardised features."""


def fit_logistic(features_NH: Tensor, target_NK: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weights and biases that minimise ``mean BCE + ridge/2 |w|^2`` for each output.

    Features are standardised (mean 0, deviation 1 over the rows) before weights are penalised, so that ``ridge`` means
    the same whatever their scale; the result is for the features as they came. Solved by Newton's method in float64:
    the loss is strictly convex in w, so there is one solution, whatever the order of rows.

    Args:
        features_NH: at least one row.
        target_NK: in [0, 1]; soft targets are allowed.
        ridge: penalty of the weights, above 0; the bias has none.

    Returns:
        ``weight [K, H]`` and ``bias [K]``, in float64, on the features' device.

    Example:
        ``fit_logistic(states, labels, ridge=0.1)``; ``states @ weight.T + bias`` are logits.
    """
    features_NH, target_NK = features_NH.double(), target_NK.double()
    mean_H = features_NH.mean(0)
    scale_H = features_NH.std(0, correction=0)
    scale_H = torch.where(scale_H > 0, scale_H, 1.0)  # of a constant feature: it says nothing, and gets weight 0
    design_ND = torch.cat([(features_NH - mean_H) / scale_H, features_NH.new_ones(len(features_NH), 1)], dim=1)
    penalty_D = features_NH.new_full((design_ND.shape[1],), ridge)
    penalty_D[-1] = 0.0
    solved_KD = torch.stack([_newton(design_ND, target_N, penalty_D) for target_N in target_NK.unbind(1)])
    weight_KH = solved_KD[:, :-1] / scale_H
    return weight_KH, solved_KD[:, -1] - weight_KH @ mean_H


def _newton(design_ND: Tensor, target_N: Tensor, penalty_D: Tensor) -> Tensor:
    """One output's weights, the bias last; steps are halved until the loss falls."""

    def loss(weight_D: Tensor) -> Tensor:
        fit = F.binary_cross_entropy_with_logits(design_ND @ weight_D, target_N)
        return fit + (penalty_D * weight_D.square()).sum() / 2

    # Rows of one class alone would push the bias without end; a pull this small moves it nowhere else.
    curvature_D = penalty_D + 1e-8
    weight_D = torch.zeros_like(penalty_D)
    for _ in range(MAX_STEPS):
        probability_N = (design_ND @ weight_D).sigmoid()
        gradient_D = design_ND.T @ (probability_N - target_N) / len(target_N) + penalty_D * weight_D
        if gradient_D.norm() < TOLERANCE:
            break
        spread_N = probability_N * (1 - probability_N) / len(target_N)
        hessian_DD = design_ND.T @ (spread_N.unsqueeze(1) * design_ND) + curvature_D.diag()
        step_D = torch.linalg.solve(hessian_DD, gradient_D)
        before, size = loss(weight_D), 1.0
        while loss(weight_D - size * step_D) > before and size > 1e-6:
            size /= 2
        weight_D = weight_D - size * step_D
    return weight_D
