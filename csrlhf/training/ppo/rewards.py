"""From scores to token rewards per channel: normalisation, the penalty's own shaping, the KL to the reference.

Legend: B sequences, T response tokens, K constraints, C = 1 + K channels (reward first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from csrlhf.constraints.set import ConstraintState
from csrlhf.errors import UserError
from csrlhf.ops.masking import Total, alone
from csrlhf.ops.shaping import shape_rewards
from csrlhf.penalties.base import Penalty
from csrlhf.state import PreciseState

if TYPE_CHECKING:
    from csrlhf.training.ppo.config import PPOConfig

# The coefficient β of the KL to the reference: fixed, or led to a target KL by a proportional controller.


ERROR_BOUND = 0.2
"""The relative error counts no further: one wild batch moves β as little as a bad one."""


class KLControl(PreciseState):
    """``adaptive`` is the controller of Ziegler et al. (arXiv 1909.08593, section 2.2), one step per iteration.

    ``e = clip(KL / target - 1, -0.2, 0.2)``, ``β <- β (1 + e n / horizon)``: n responses of all processes, KL their
    mean per response in nats. β is checkpointed with the policy module.

    Example: ``KLControl("adaptive", coef=0.1, target=6.0, horizon=10000)``.
    """

    coef: Tensor

    def __init__(self, kind: str, coef: float, target: float, horizon: float) -> None:
        """Build the controller; values come checked from ``PPOConfig``.

        Args:
            kind: a ``config.KLControl``.
            coef: β, at the start where it moves.
            target: nats per response.
            horizon: responses; the larger, the slower β moves.
        """
        super().__init__()
        self.kind, self.target, self.horizon = kind, target, horizon
        self.register_buffer("coef", torch.tensor(coef, dtype=torch.float64))

    def update(self, kl: Tensor, num_responses: int) -> None:
        """One step after the policy's update; nothing for a fixed β.

        Args:
            kl: mean KL per response, averaged over the processes.
            num_responses: n, of all processes.
        """
        if self.kind == "fixed":
            return
        if ERROR_BOUND * num_responses >= self.horizon:
            raise UserError(
                f"ppo.kl_horizon={self.horizon:g}: must be above {ERROR_BOUND:g} x ppo.batch_size={num_responses}, "
                "else one step could take the KL coefficient to 0 or below"
            )
        error = (kl.to(self.coef) / self.target - 1).clamp(-ERROR_BOUND, ERROR_BOUND)
        self.coef *= 1 + error * num_responses / self.horizon


# Normalisation of rewards and costs by their running mean and deviation, before the KL is added to them.
#
# A penalty's multiplier is a price per unit of cost, in units of reward. Dividing the two by their own deviations
# changes that price: ``r / σ_r - λ c / σ_c = (1 / σ_r) (r - λ (σ_r / σ_c) c)``. What a run with normalised scores pays
# per raw unit of cost is therefore ``λ σ_r / σ_c``, which is logged. Violations and the penalty's state stay on the raw
# scale.

LEAST_DEVIATION = 1e-6
"""Scores that have not differed by more so far are not divided: what a constant is multiplied by would be arbitrary."""


class ScoreScale(PreciseState):
    """Running statistics of every channel over all processes and iterations; checkpointed with the policy module.

    ``scale`` divides by σ, ``whiten`` takes the mean out first. Batches are merged by Chan's formula
    (https://doi.org/10.1007/978-3-642-51461-6_3), so that no large sums are subtracted.

    Attributes:
        count: scores seen so far, of each channel.
        mean_C: their mean.
        squares_C: Σ (x - mean)².
    """

    count: Tensor
    mean_C: Tensor
    squares_C: Tensor

    def __init__(self, num_constraints: int, reward: str = "none", cost: str = "none") -> None:
        """Start without scores.

        Args:
            num_constraints: K.
            reward: a ``config.Normalise``, for the reward channel.
            cost: likewise, for all cost channels.
        """
        super().__init__()
        self.kinds = (reward, *[cost] * num_constraints)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean_C", torch.zeros(1 + num_constraints, dtype=torch.float64))
        self.register_buffer("squares_C", torch.zeros(1 + num_constraints, dtype=torch.float64))

    def update(self, reward_B: Tensor, cost_BK: Tensor, total: Total = alone) -> None:
        """Take a batch of all processes in; nothing where no channel is normalised."""
        if set(self.kinds) == {"none"}:
            return
        scores_BC = torch.cat([reward_B.unsqueeze(-1), cost_BK], dim=-1).to(self.mean_C)
        size = total(torch.full_like(self.count, len(scores_BC)))
        mean_C = total(scores_BC.sum(dim=0)) / size
        squares_C = total(((scores_BC - mean_C) ** 2).sum(dim=0))
        count, gap_C = self.count + size, mean_C - self.mean_C
        self.squares_C += squares_C + gap_C**2 * self.count * size / count
        self.mean_C += gap_C * size / count
        self.count.copy_(count)

    @property
    def deviation_C(self) -> Tensor:
        """What scores are divided by [C]: σ, or 1 where the channel is left alone or has shown no spread yet."""
        deviation_C = (self.squares_C / self.count.clamp(min=1)).sqrt()
        is_divided_C = self._among("scale", "whiten") & (deviation_C > LEAST_DEVIATION)
        return torch.where(is_divided_C, deviation_C, 1.0)

    @property
    def shift_C(self) -> Tensor:
        """What is taken out of scores [C]: the mean, or 0 where the channel is not whitened."""
        return torch.where(self._among("whiten"), self.mean_C, 0.0)

    @property
    def price_K(self) -> Tensor:
        """``σ_r / σ_ck``: a multiplier times this is its price per raw unit of cost, in raw units of reward."""
        return self.deviation_C[0] / self.deviation_C[1:]

    def reward(self, reward_B: Tensor) -> Tensor:
        """Normalised rewards [B]."""
        return (reward_B - self.shift_C[0].to(reward_B)) / self.deviation_C[0].to(reward_B)

    def cost(self, cost: Tensor) -> Tensor:
        """Normalised costs [B, K], or thresholds [K], which keep their place among them."""
        return (cost - self.shift_C[1:].to(cost)) / self.deviation_C[1:].to(cost)

    def _among(self, *kinds: str) -> Tensor:
        return torch.tensor([kind in kinds for kind in self.kinds], device=self.mean_C.device)


class TokenRewards(nn.Module):
    """What the advantage estimator is given; holds the state of KL control and normalisation."""

    def __init__(self, config: PPOConfig, num_constraints: int) -> None:
        super().__init__()
        self.config = config
        self.kl_control = KLControl(config.kl_control, config.kl_coef, config.kl_target, config.kl_horizon)
        self.scale = ScoreScale(num_constraints, config.reward_normalise, config.cost_normalise)

    def forward(
        self,
        reward_B: Tensor,
        state: ConstraintState,
        kl_BT: Tensor,
        mask_BT: Tensor,
        penalty: Penalty,
        total: Total = alone,
    ) -> Tensor:
        """Token rewards [B, T, C]; the statistics take this batch in first.

        Args:
            reward_B: raw rewards.
            state: raw sample costs and thresholds.
            kl_BT: per-token KL estimate (k1).
            mask_BT: True on response tokens.
            penalty: may shape the reward by each answer's own costs.
            total: adds up a tensor over all processes.
        """
        self.scale.update(reward_B, state.sample_cost_BK, total)
        cost_BK = self.scale.cost(state.sample_cost_BK)
        reward_B = penalty.shape(self.scale.reward(reward_B), cost_BK, self.scale.cost(state.threshold_K))
        coef, channels, clamp = float(self.kl_control.coef), self.config.kl_channels, self.config.reward_clamp
        return shape_rewards(reward_B, cost_BK, kl_BT, mask_BT, coef, channels, clamp)
