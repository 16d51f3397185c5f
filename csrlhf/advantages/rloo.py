"""``rloo``: REINFORCE with a leave-one-out baseline (arXiv 2402.14740): no critic, several responses per prompt."""

from __future__ import annotations

from torch import Tensor

from csrlhf.advantages.base import Estimator, mix_channels
from csrlhf.advantages.scale import NORMALISE, RewardScale, normalise_mix
from csrlhf.ops.advantages import Groups, leave_one_out, sequence_scores, spread
from csrlhf.ops.masking import Total, alone
from csrlhf.penalties.base import Weights, check_choice
from csrlhf.types import Advantages


class RLOO(Estimator):
    """A response's score minus the mean score of the prompt's *other* responses, the same on each of its tokens.

    The score of a channel is the sum of its token rewards, so the KL counts: ``r - β Σ_t k_t``. The baseline is taken
    per channel and the channels are mixed after; both are linear, so the order is of no matter.
    """

    needs_critic = False
    min_samples = 2

    def __init__(self, normalise: str = "none") -> None:
        """Build the estimator.

        Args:
            normalise: of the mixed advantage, as in ``gae``.
        """
        self.normalise = check_choice("advantage.normalise", normalise, NORMALISE)

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
        """Advantages of a rollout; a response without tokens enters no baseline. See the base class."""
        scores_BC, counted_B = sequence_scores(rewards_BTC, mask_BT)
        channels_BTC = spread(leave_one_out(scores_BC, counted_B, groups, total), mask_BT)
        mixed_BT, reward_BT = mix_channels(channels_BTC, weights), channels_BTC[..., 0]
        mixed_BT = normalise_mix(self.normalise, mixed_BT, reward_BT, mask_BT, total, scale)
        return Advantages(mixed_BT, reward_advantage_BT=reward_BT, cost_advantage_BTK=channels_BTC[..., 1:])
