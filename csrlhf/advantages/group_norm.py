"""``group_norm``, or ``grpo``: scores compared within a prompt's responses (arXiv 2402.03300): no critic."""

from __future__ import annotations

import math

from torch import Tensor

from csrlhf.advantages.base import Estimator, mix_channels
from csrlhf.advantages.scale import RewardScale, normalise_mix
from csrlhf.errors import UserError
from csrlhf.ops.advantages import Groups, centre, group_deviation, sequence_scores, spread
from csrlhf.ops.masking import Total, alone
from csrlhf.penalties.base import Weights, check_choice
from csrlhf.types import Advantages

GROUP_NORMALISE = ("reward", "none", "group", "per_channel")
"""What centred scores are divided by."""


class GroupNorm(Estimator):
    """A response's score minus the mean of its group, mixed over the channels, the same on each of its tokens.

    The score of a channel is the sum of its token rewards, so the KL counts: ``r - β Σ_t k_t``. Four ways to scale
    the mix ``x = (w_r R - Σ_k w_k C_k) / Z`` of the centred scores R and C_k:

    - ``reward``: by the running root mean square of R, whatever the gate does; λ keeps its meaning.
    - ``none``: not at all, Dr. GRPO's (arXiv 2503.20783); likewise.
    - ``group``: by the standard deviation of x within the group plus ε, GRPO's own. It cancels Z and the gate's weight
      with it: λ has no effect on the trade-off.
    - ``per_channel``: each channel by its own deviation within the group plus ε, before the mix (Constrained GRPO,
      arXiv 2602.05863). λ then is a price in units of σ_r / σ_c, which move as costs become rare: that of one run says
      nothing of another.
    """

    needs_critic = False
    min_samples = 2

    def __init__(self, eps: float = 1e-4, normalise: str = "reward") -> None:
        """Build the estimator.

        Args:
            eps: ε > 0 of ``group`` and ``per_channel``, in units of what is divided: a group whose responses all score
                alike has advantages of 0.
            normalise: one of ``GROUP_NORMALISE``.
        """
        if not 0 < eps < math.inf:
            raise UserError(f"advantage.eps={eps}: must be a positive number")
        self.eps = float(eps)
        self.normalise = check_choice("advantage.normalise", normalise, GROUP_NORMALISE)

    def __call__(
        self,
        rewards_BTC: Tensor,
        values_BTC: Tensor | None,
        mask_BT: Tensor,
        weights: Weights,
        groups: Groups,
        total: Total = alone,
        scale: RewardScale | None = None,
    ) -> Advantages:
        """Advantages of a rollout; a response without tokens takes no part. See the base class."""
        scores_BC, counted_B = sequence_scores(rewards_BTC, mask_BT)
        centred_BC = centre(scores_BC, counted_B, groups, total)  # centring is linear: mixing after it is the same
        scaled_BC = centred_BC
        if self.normalise == "per_channel":
            scaled_BC = centred_BC / (group_deviation(centred_BC, counted_B, groups, total) + self.eps)
        mixed_B = mix_channels(scaled_BC, weights)
        if self.normalise == "group":
            mixed_B = mixed_B / (group_deviation(mixed_B, counted_B, groups, total) + self.eps)
        elif self.normalise != "per_channel":
            reward_B = centred_BC[..., 0]
            mixed_B = normalise_mix(self.normalise, mixed_B, reward_B, counted_B, total, scale)
        channels_BTC = spread(centred_BC, mask_BT)
        return Advantages(
            spread(mixed_B.unsqueeze(-1), mask_BT).squeeze(-1),
            reward_advantage_BT=channels_BTC[..., 0],
            cost_advantage_BTK=channels_BTC[..., 1:],
        )
