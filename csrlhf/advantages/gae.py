"""``gae``: generalised advantage estimation per channel, then the mix, then (optionally) one normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.advantages.base import Estimator, mix_channels
from csrlhf.advantages.scale import NORMALISE, RewardScale, normalise_mix
from csrlhf.errors import UserError
from csrlhf.ops.advantages import gae
from csrlhf.ops.masking import Total, alone
from csrlhf.penalties.base import Weights, check_choice
from csrlhf.types import Advantages


class GAE(Estimator):
    """Channels are mixed before anything is normalised: whitening each alone would rescale λ by σ_r / σ_c."""

    def __init__(self, gamma: float = 1.0, lam: float = 0.95, normalise: str = "none") -> None:
        """Build the estimator.

        Args:
            gamma: discount in [0, 1].
            lam: λ_gae in [0, 1].
            normalise: of the mixed advantage. ``reward`` divides by the running root mean square of the reward
                channel's advantage, which leaves λ its meaning; ``whiten`` and ``scale`` divide by the batch's own
                spread, which follows the gate: λ then has no effect on the trade-off.
        """
        for key, value in (("advantage.gamma", gamma), ("advantage.lam", lam)):
            if not 0 <= value <= 1:
                raise UserError(f"{key}={value}: must be in [0, 1]")
        self.gamma, self.lam = gamma, lam
        self.normalise = check_choice("advantage.normalise", normalise, NORMALISE)

    def __call__(
        self,
        rewards_BTC: Tensor,
        values_BTC: Tensor | None,
        mask_BT: Tensor,
        weights: Weights,
        total: Total = alone,
        scale: RewardScale | None = None,
    ) -> Advantages:
        """Advantages of a rollout and value targets; see the base class."""
        assert values_BTC is not None  # needs_critic
        advantages_BTC, returns_BTC = gae(rewards_BTC, values_BTC, mask_BT, self.gamma, self.lam)
        mixed_BT, reward_BT = mix_channels(advantages_BTC, weights), advantages_BTC[..., 0]
        mixed_BT = normalise_mix(self.normalise, mixed_BT, reward_BT, mask_BT, total, scale)
        return Advantages(
            torch.where(mask_BT, mixed_BT, 0.0),
            returns_BTC,
            values_BTC,
            reward_advantage_BT=reward_BT,
            cost_advantage_BTK=advantages_BTC[..., 1:],
        )
