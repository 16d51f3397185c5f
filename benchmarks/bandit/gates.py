"""What the gate of a fixed λ looks at, on the bandit: mean weight against λ*, cost, and how often the interval holds.

All replicates go through the ascent side by side: a strategy treats each of them as a constraint of its own.

Legend of suffixes: R replicates, N arms, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.bandit.problem import Bandit, Vector, softmax
from csrlhf.advantages.scale import DECAY
from csrlhf.errors import UserError
from csrlhf.penalties import Adaptive, Penalty, Rectified
from csrlhf.penalties.base import ask_update
from csrlhf.stats.lambda_star import duty_cycle_estimate

CONFIDENCE = 0.95
"""Of each end of the interval alone."""


@dataclass(frozen=True)
class Result:
    """All replicates of a setting, over the last two thirds of the steps.

    Attributes:
        weight_R: mean weight of the costs.
        cost_R: mean cost of the policy.
        value_R: mean of ``E[r] - β KL``.
        multiplier_R: λ at the end.
        weight_SR: weight of every step.
    """

    weight_R: Vector
    cost_R: Vector
    value_R: Vector
    multiplier_R: Vector
    weight_SR: Vector


def ascend(
    bandit: Bandit,
    penalty: Penalty,
    gate: str,
    rate: float,
    batch_size: int = 128,
    steps: int = 1500,
    replicates: int = 200,
    seed: int = 0,
    scale: str = "none",
) -> Result:
    """Policy-gradient ascent from the constrained optimum, with each of the arms drawn as a prompt of its own.

    Args:
        bandit: the problem; its costs are 0 or 1.
        penalty: a fresh strategy.
        gate: one of ``csrlhf.penalties.base.GATES``.
        rate: the step on the logits, before the normaliser's ``1 + λ`` is taken out.
        batch_size: B.
        steps: S.
        replicates: R.
        seed: of the draws.
        scale: what the mixed advantage is divided by: nothing; ``reward``, a moving average of the reward channel's
            spread; ``mix``, its own spread in this batch (whitening, GRPO's group deviation).
    """
    penalty.setup([f"replicate {r}" for r in range(replicates)])
    rng = np.random.default_rng(seed)
    logits_RN = np.tile(np.log(bandit.optimum(bandit.solve())), (replicates, 1))
    is_costly_N = bandit.cost_N > 0.5
    shaped_RN = bandit.reward_N - bandit.beta * (logits_RN - np.log(bandit.reference_N))
    typical = float(np.sqrt((np.exp(logits_RN[0]) * (shaped_RN[0] - np.exp(logits_RN[0]) @ shaped_RN[0]) ** 2).sum()))
    before_R, rows = np.full(replicates, bandit.threshold), []
    square_R, seen = np.zeros(replicates), 0
    for _ in range(steps):
        policy_RN = softmax(logits_RN)
        shaped_RN = bandit.reward_N - bandit.beta * np.log(policy_RN / bandit.reference_N)
        halves = [rng.multinomial(batch_size // 2, policy_RN) / batch_size for _ in range(2)]
        share_RN = halves[0] + halves[1]
        cost_R = share_RN @ bandit.cost_N
        if gate == "leave_one_out":
            left = batch_size - 1
            safe_R = _ask(penalty, batch_size * cost_R / left, left, bandit.threshold)
            unsafe_R = _ask(penalty, np.clip(batch_size * cost_R - 1, 0, None) / left, left, bandit.threshold)
            weight_RN = np.where(is_costly_N, unsafe_R[:, None], safe_R[:, None])
        elif gate == "held_out":
            half = batch_size // 2
            weights = [_ask(penalty, 2 * other @ bandit.cost_N, half, bandit.threshold) for other in halves[::-1]]
            mixed_RN = sum(own * weight_R[:, None] for own, weight_R in zip(halves, weights, strict=True))
            weight_RN = np.divide(mixed_RN, share_RN, out=np.zeros_like(share_RN), where=share_RN > 0)
        else:
            seen_R = before_R if gate == "previous" else cost_R
            weight_RN = np.broadcast_to(_ask(penalty, seen_R, batch_size, bandit.threshold)[:, None], share_RN.shape)
        mean_R = (share_RN * weight_RN).sum(axis=1)
        rows.append((mean_R, policy_RN @ bandit.cost_N, (policy_RN * shaped_RN).sum(axis=1)))
        reward_RN = shaped_RN - (share_RN * shaped_RN).sum(axis=1, keepdims=True)
        mixed_RN = reward_RN - weight_RN * (bandit.cost_N - cost_R[:, None])
        if scale == "mix":
            mixed_RN = typical * mixed_RN / np.sqrt((share_RN * mixed_RN**2).sum(axis=1, keepdims=True) + 1e-12)
        elif scale == "reward":
            square_R, seen = DECAY * square_R + (1 - DECAY) * (share_RN * reward_RN**2).sum(axis=1), seen + 1
            mixed_RN = typical * mixed_RN / np.sqrt(square_R / (1 - DECAY**seen))[:, None]
        pull_RN = share_RN * mixed_RN
        logits_RN = logits_RN + rate * (pull_RN - pull_RN.sum(axis=1, keepdims=True) * policy_RN)
        multiplier_R = penalty.multiplier_K.double().numpy()
        ask_update(penalty, _tensor(cost_R - bandit.threshold), open_K=_tensor(mean_R / multiplier_R))
        before_R = cost_R
    weight_SR, cost_SR, value_SR = (np.array(column) for column in zip(*rows, strict=True))
    late = slice(steps // 3, None)
    return Result(
        weight_SR[late].mean(axis=0),
        cost_SR[late].mean(axis=0),
        value_SR[late].mean(axis=0),
        penalty.multiplier_K.double().numpy(),
        weight_SR,
    )


def _ask(penalty: Penalty, cost_R: Vector, count: int, threshold: float) -> Vector:
    stderr_R = np.sqrt(cost_R * (1 - cost_R) / (count - 1))
    return penalty.weights(_tensor(cost_R - threshold), _tensor(stderr_R)).cost_K.double().numpy()


def _tensor(value_R: Vector) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value_R, dtype=np.float32))


@dataclass(frozen=True)
class Line:
    """A setting's line of the table.

    Attributes:
        gate: what the gate looks at.
        ratio: λ / λ*.
        rate: the step.
        weight: mean weight / λ*.
        local: mean weight / λ* *at the cost where the policy settles*, which a noisy gate holds off the threshold.
        cost: mean cost / d.
        lost: the optimum's value less the mean value, as a share of the optimum's.
        lower: share of the replicates in which the lower end of the interval is at or below λ*.
        upper: likewise of the upper end, at or above.
    """

    gate: str
    ratio: float
    rate: float
    weight: float
    local: float
    cost: float
    lost: float
    lower: float
    upper: float


def line(bandit: Bandit, gate: str, ratio: float, rate: float, steps: int = 1500, replicates: int = 200) -> Line:
    """Run a plain gate (no margin) and read its intervals."""
    optimal = bandit.solve()
    multiplier = ratio * optimal
    found = ascend(bandit, Rectified(multiplier, margin_z=0.0), gate, rate, steps=steps, replicates=replicates)
    settled = replace(bandit, threshold=float(found.cost_R.mean())).solve()
    best = bandit.value(bandit.optimum(optimal))
    ends = [interval(multiplier, weight_S) for weight_S in found.weight_SR.T]
    mean = float(found.weight_R.mean())
    return Line(
        gate,
        ratio,
        rate,
        mean / optimal,
        mean / settled,
        float(found.cost_R.mean()) / bandit.threshold,
        (best - float(found.value_R.mean())) / best,
        float(np.mean([lower <= optimal for lower, _ in ends])),
        float(np.mean([upper >= optimal for _, upper in ends])),
    )


def interval(multiplier: float, weight_S: Vector) -> tuple[float, float]:
    """Both ends of the duty cycle's interval, as of a gate that sees other responses than its own.

    (Of one that sees its own, csrlhf states no upper end; here it is shown how often that would be wrong.) Nothing is
    known of a run that is too short.
    """
    try:
        found = duty_cycle_estimate(multiplier, weight_S / multiplier, gate="previous", confidence=CONFIDENCE)
    except UserError:
        return 0.0, np.inf
    return found.lower, found.upper


def duty_cycle(
    bandit: Bandit, scale: str, ratio: float, rate: float, steps: int = 1500, replicates: int = 200
) -> float:
    """Share of the prompts for which a gate on other draws is open, where the advantage is divided by ``scale``."""
    penalty = Rectified(ratio * bandit.solve(), margin_z=0.0)
    found = ascend(bandit, penalty, "leave_one_out", rate, steps=steps, replicates=replicates, scale=scale)
    return float(found.weight_R.mean()) / (ratio * bandit.solve())


def settled_multiplier(
    bandit: Bandit, gate: str, rate: float, steps: int = 3000, replicates: int = 100, scale: str = "none"
) -> float:
    """Where ``adaptive`` (margin 2) settles, in units of λ*."""
    optimal = bandit.solve()
    strategy = Adaptive(2 * optimal, margin=2.0, margin_z=0.0, duty_ema=0.99, rate=0.01)
    found = ascend(bandit, strategy, gate, rate, steps=steps, replicates=replicates, scale=scale)
    return float(found.multiplier_R.mean()) / optimal
