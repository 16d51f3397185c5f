"""``group_norm``, or ``grpo``: scores standardised within a prompt's responses (arXiv 2402.03300): no critic."""

from __future__ import annotations

import math

from torch import Tensor

from csrlhf.advantages.base import Estimator, mix_channels
from csrlhf.errors import UserError
from csrlhf.ops.advantages import Groups, centre, group_deviation, sequence_scores, spread
from csrlhf.ops.masking import Total, alone
from csrlhf.penalties.base import Weights
from csrlhf.types import Advantages


class GroupNorm(Estimator):
    """``(x - mean) / (std + ε)`` of the *mixed* score x within its group, the same on each token of the response.

    The mix comes first, ``x = (w_r R - Σ_k w_k C_k) / Z`` with R and C_k sums of token rewards (the KL counts:
    ``r - β Σ_t k_t``): standardising R and C_k alone would multiply λ by σ_r / σ_c, and by another number in each
    group. The division by the group's spread cancels Z, which therefore matters only through ε.
    """

    needs_critic = False
    min_samples = 2
    mixes_linearly = False

    def __init__(self, eps: float = 1e-4) -> None:
        """Build the estimator.

        Args:
            eps: ε > 0, in units of the mixed score: a group whose responses all score alike has advantages of 0.
        """
        if not 0 < eps < math.inf:
            raise UserError(f"advantage.eps={eps}: must be a positive number")
        self.eps = float(eps)

    def __call__(
        self,
        rewards_BTC: Tensor,
        values_BTC: Tensor | None,
        mask_BT: Tensor,
        weights: Weights,
        groups: Groups,
        total: Total = alone,
    ) -> Advantages:
        """Advantages of a rollout; a response without tokens takes no part. See the base class."""
        scores_BC, counted_B = sequence_scores(rewards_BTC, mask_BT)
        centred_BC = centre(scores_BC, counted_B, groups, total)  # centring is linear: mixing after it is the same
        mixed_B = mix_channels(centred_BC, weights)
        mixed_B = mixed_B / (group_deviation(mixed_B, counted_B, groups, total) + self.eps)
        channels_BTC = spread(centred_BC, mask_BT)
        return Advantages(
            spread(mixed_B.unsqueeze(-1), mask_BT).squeeze(-1),
            reward_advantage_BT=channels_BTC[..., 0],
            cost_advantage_BTK=channels_BTC[..., 1:],
        )
