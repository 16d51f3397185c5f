"""A constrained problem whose answer is known: a KL-regularised bandit, and policy-gradient ascent under a penalty.

Maximise ``F(π) = E[r] - β KL(π ‖ π0)`` subject to ``J(π) = E[c] <= d`` over distributions on N arms. For a price λ on
the cost the maximiser is ``π ∝ π0 exp((r - λ c) / β)``; the optimal multiplier λ* is the price at which its cost is d.
The ascent makes the same iteration as the policy's training step, with a real strategy object: a batch, its cost and
standard error, weights, the mix of advantages, the step of the strategy's state.

Legend of suffixes: N arms, S steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import root_scalar

from csrlhf.penalties.base import Penalty, Weights, ask_update, ask_weights

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Bandit:
    """The problem.

    Attributes:
        reward_N: r.
        cost_N: c; here 0 or 1, as of the ``chance`` constraint.
        reference_N: π0.
        beta: β, the price of the KL.
        threshold: d.
    """

    reward_N: Vector
    cost_N: Vector
    reference_N: Vector
    beta: float
    threshold: float

    def optimum(self, multiplier: float) -> Vector:
        """The maximiser [N] of ``F(π) - λ J(π)``, in closed form."""
        score_N = (self.reward_N - multiplier * self.cost_N) / self.beta
        weight_N = self.reference_N * np.exp(score_N - score_N.max())
        return weight_N / weight_N.sum()

    def solve(self) -> float:
        """λ*: the multiplier whose maximiser costs exactly d."""
        return float(
            root_scalar(lambda x: self.cost(self.optimum(x)) - self.threshold, bracket=(0.0, 1e3), xtol=1e-12).root
        )

    def cost(self, policy_N: Vector) -> float:
        """``J = E[c]``."""
        return float(policy_N @ self.cost_N)

    def value(self, policy_N: Vector) -> float:
        """``F = E[r] - β KL(π ‖ π0)``."""
        return float(policy_N @ (self.reward_N - self.beta * np.log(policy_N / self.reference_N)))


def example(threshold: float = 0.1) -> Bandit:
    """Sixteen arms; every other one is harmful and pays more, so that reward alone ends at a cost of 0.71."""
    rng = np.random.default_rng(2)
    cost_N = np.tile([0.0, 1.0], 8)
    return Bandit(rng.normal(size=16) + cost_N, cost_N, np.full(16, 1 / 16), 0.5, threshold)


@dataclass(frozen=True)
class Path:
    """What an ascent went through: exact cost and value of the policy, multiplier and cost weight of each step [S]."""

    cost_S: Vector
    value_S: Vector
    multiplier_S: Vector
    weight_S: Vector
    policy_N: Vector

    def tail(self, what: Vector, share: float = 0.5) -> float:
        """Mean of the last ``share`` of the steps."""
        return float(what[-max(int(share * len(what)), 1) :].mean())


def ascend(
    bandit: Bandit,
    penalty: Penalty,
    steps: int = 2000,
    lr: float = 2.0,
    batch_size: int = 512,
    epochs: int = 1,
    seed: int = 0,
    start_N: Vector | None = None,
) -> Path:
    """Policy-gradient ascent on softmax logits under a strategy.

    Args:
        bandit: the problem.
        penalty: a strategy, fresh.
        steps: iterations.
        lr: step on the logits in each iteration, shared out over its epochs.
        batch_size: B, arms drawn in an iteration.
        epochs: steps on each batch, corrected by the ratio ρ; a strategy with ``recheck`` is asked in each of them.
        seed: of the draws.
        start_N: the first policy; π0 if None.
    """
    penalty.setup(["harm"])
    rng = np.random.default_rng(seed)
    logits_N = np.log(bandit.reference_N if start_N is None else start_N)
    rows = []
    threshold = torch.tensor([bandit.threshold])
    shaped_N = penalty.shape(
        torch.from_numpy(bandit.reward_N), torch.from_numpy(bandit.cost_N).unsqueeze(-1), threshold.double()
    ).numpy()
    for _ in range(steps):
        sampled_from_N = policy_N = softmax(logits_N)
        share_N = rng.multinomial(batch_size, policy_N) / batch_size  # of the batch that each arm makes up
        cost = float(share_N @ bandit.cost_N)
        stderr = math.sqrt(float(share_N @ (bandit.cost_N - cost) ** 2) / (batch_size - 1))
        violation_K = torch.tensor([cost - bandit.threshold])
        weights = ask_weights(penalty, violation_K, torch.tensor([stderr]))
        rows.append(
            (
                bandit.cost(policy_N),
                bandit.value(policy_N),
                float(penalty.multiplier_K[0]),
                float(weights.cost_K[0]),
            )
        )
        shaped_reward_N = shaped_N - bandit.beta * np.log(policy_N / bandit.reference_N)
        reward_advantage_N = shaped_reward_N - share_N @ shaped_reward_N
        cost_advantage_N = bandit.cost_N - cost
        for _ in range(epochs):
            ratio_N = policy_N / sampled_from_N
            if penalty.recheck:
                moved = float(share_N @ ((ratio_N - 1) * cost_advantage_N))
                weights = penalty.weights(violation_K + moved)
            pull_N = share_N * ratio_N * _mix(reward_advantage_N, cost_advantage_N, weights)
            logits_N = logits_N + lr / epochs * (pull_N - pull_N.sum() * policy_N)
            policy_N = softmax(logits_N)
        ask_update(penalty, violation_K, open_K=(weights.cost_K > 0).float())
    cost_S, value_S, multiplier_S, weight_S = np.array(rows).T
    return Path(cost_S, value_S, multiplier_S, weight_S, softmax(logits_N))


def _mix(reward_N: Vector, cost_N: Vector, weights: Weights) -> Vector:
    """``(w_r A_r - w_c A_c) / Z`` [N]."""
    return (float(weights.reward) * reward_N - float(weights.cost_K[0]) * cost_N) / float(weights.total)


def softmax(logits_N: Vector) -> Vector:
    """The policy [..., N] of its logits."""
    weight_N = np.exp(logits_N - logits_N.max(axis=-1, keepdims=True))
    return weight_N / weight_N.sum(axis=-1, keepdims=True)
