"""From scores to token rewards: the order of normalisation, the penalty's own shaping, and the KL."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from csrlhf.constraints.set import ConstraintState
from csrlhf.penalties import Linear, NoPenalty, Penalty
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.rewards import TokenRewards

MASK = torch.tensor([[True, True], [True, False]])
KL = torch.tensor([[0.5, -0.25], [1.0, 9.0]])
REWARDS = torch.tensor([1.0, 3.0])
"""Mean 2, deviation 1."""
STATE = ConstraintState(
    value_K=torch.tensor([2.0]),
    stderr_K=torch.tensor([0.0]),
    threshold_K=torch.tensor([1.0]),
    sample_cost_BK=torch.tensor([[0.0], [4.0]]),  # deviation 2
    mean_K=torch.tensor([2.0]),
    mean_stderr_K=torch.tensor([0.0]),
)


class Hinge(Penalty):
    """Charges each answer for its own cost."""

    def shape(self, reward_B: Tensor, cost_BK: Tensor, threshold_K: Tensor) -> Tensor:
        return reward_B - 3.0 * (cost_BK - threshold_K).clamp(min=0).sum(-1)


def shaped(penalty: Penalty | None = None, **changes: object) -> Tensor:
    module = TokenRewards(PPOConfig(kl_coef=0.1, **changes, critic_warmup=0), 1)  # type: ignore[arg-type]  # by name
    return module(REWARDS, STATE, KL, MASK, penalty or NoPenalty())


def test_the_kl_enters_the_reward_channel_or_both() -> None:
    reward, cost = shaped().unbind(-1)
    torch.testing.assert_close(reward, torch.tensor([[-0.05, 1.025], [2.9, 0.0]]))
    torch.testing.assert_close(cost, torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    reward, cost = shaped(kl_channels="both").unbind(-1)
    torch.testing.assert_close(reward, torch.tensor([[-0.05, 1.025], [2.9, 0.0]]))
    torch.testing.assert_close(cost, torch.tensor([[0.05, -0.025], [4.1, 0.0]]))


def test_scores_are_normalised_before_the_kl_is_added() -> None:
    reward, cost = shaped(reward_normalise="whiten", cost_normalise="scale").unbind(-1)
    torch.testing.assert_close(reward, torch.tensor([[-0.05, -1 + 0.025], [1 - 0.1, 0.0]]))
    torch.testing.assert_close(cost, torch.tensor([[0.0, 0.0], [2.0, 0.0]]))


@pytest.mark.parametrize("cost_normalise", ["none", "scale", "whiten"])
def test_a_penalty_that_shapes_each_answer_sees_costs_and_thresholds_on_one_scale(cost_normalise: str) -> None:
    """Only the second answer is above the threshold, by 3 of raw cost, whatever is normalised."""
    reward, _ = shaped(Hinge(), cost_normalise=cost_normalise).unbind(-1)
    deviation = 1.0 if cost_normalise == "none" else 2.0
    torch.testing.assert_close(reward, torch.tensor([[-0.05, 1.025], [2.9 - 3.0 * 3.0 / deviation, 0.0]]))


def test_the_coefficient_is_the_controller_s() -> None:
    module = TokenRewards(
        PPOConfig(kl_coef=0.1, kl_control="adaptive", kl_target=1.0, kl_horizon=10, critic_warmup=0), 1
    )
    module.kl_control.update(torch.tensor(5.0), 10)  # up by a fifth
    reward = module(REWARDS, STATE, KL, MASK, Linear(1.0))[..., 0]
    torch.testing.assert_close(reward, torch.tensor([[-0.06, 1.03], [2.88, 0.0]]))
