"""Strategies that are asked for their weights in every minibatch (``Penalty.recheck``, p3o).

The violation was measured on the rollout, and the steps since have moved the policy. What a strategy is asked with is
``v_k + mean over sequences of Σ_t (ρ_t - 1) A_ck,t`` of the whole minibatch of all processes: neither its split over
processes nor over micro-batches changes a weight. That takes the current log-probs of all rows before the first loss:
one forward pass more per minibatch, without gradients.

Legend: T response tokens, K constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning import LightningModule
from torch import Tensor

from csrlhf.advantages.base import Estimator
from csrlhf.constraints.set import ConstraintState
from csrlhf.errors import UserError
from csrlhf.ops.logprobs import gather_logprobs, ratio_reference
from csrlhf.ops.losses import surrogate_shift
from csrlhf.penalties.base import Penalty, Weights, ask_weights
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.roles import SeparateRoles
from csrlhf.training.ranks import mean_over_ranks
from csrlhf.types import Advantages

if TYPE_CHECKING:
    from csrlhf.training.ppo.update import Counts, Metrics, Piece


def check_recheck(penalty: Penalty, advantage: Estimator, ppo: PPOConfig) -> None:
    """Refuse what takes the advantages off the scale on which a rechecking strategy weighs them.

    Raises:
        UserError: the estimator normalises the mixed advantage, which such a strategy takes apart, or the costs are
            normalised or pay the KL, and their advantages are added to a violation that knows of neither.
    """
    if not penalty.recheck:
        return
    name = type(penalty).__name__
    if ppo.cost_normalise != "none":
        raise UserError(
            f"ppo.cost_normalise={ppo.cost_normalise}: {name} adds cost advantages to the violation, which is on the "
            "raw scale; set ppo.cost_normalise=none"
        )
    if ppo.kl_channels != "reward":
        raise UserError(
            f"ppo.kl_channels={ppo.kl_channels}: {name} adds cost advantages to the violation, and they would hold the "
            "KL as well; set ppo.kl_channels=reward"
        )
    if ppo.ratio != "token":
        raise UserError(
            f"ppo.ratio={ppo.ratio}: {name} adds up what each token's own ratio has made of the costs; set "
            "ppo.ratio=token"
        )
    normalise = getattr(advantage, "normalise", "none")
    if normalise != "none":
        raise UserError(
            f"advantage.normalise={normalise}: {name} weighs reward and costs anew in each minibatch, and the "
            "mixed advantage is not used; must be none"
        )
    if not getattr(advantage, "mixes_linearly", True):  # a plug-in need not inherit
        raise UserError(
            f"advantage: {type(advantage).__name__} normalises the mix of reward and costs, and {name} weighs them "
            "anew in each minibatch; choose advantage=gae or advantage=rloo"
        )


def channels(targets: Advantages) -> tuple[Tensor, Tensor]:
    """The reward's and the costs' advantages before the mix, ``[B, T]`` and ``[B, T, K]``.

    Raises:
        UserError: the estimator does not give them.
    """
    if targets.reward_advantage_BT is None or targets.cost_advantage_BTK is None:
        raise UserError(
            "advantage: the estimator must give reward_advantage_BT and cost_advantage_BTK to a penalty that is asked "
            "again in each minibatch; choose advantage=gae, or another penalty"
        )
    return targets.reward_advantage_BT, targets.cost_advantage_BTK


class Recheck:
    """Asks a strategy with what the policy's steps have made of the violation."""

    def __init__(self, roles: SeparateRoles, penalty: Penalty, state: ConstraintState) -> None:
        self.roles, self.penalty, self.state = roles, penalty, state

    @torch.no_grad()
    def __call__(self, module: LightningModule, pieces: Sequence[Piece], counts: Counts) -> tuple[Weights, Metrics]:
        """Weights of a minibatch, the same on every process.

        Args:
            module: runs on every process.
            pieces: this process's rows of the minibatch.
            counts: of the whole minibatch.

        Returns:
            The weights; weight and surrogate violation of each constraint, keyed for the log.
        """
        shift_K = torch.zeros_like(self.state.violation_K)
        for mini, targets in pieces:
            logprobs_BT = gather_logprobs(self.roles.policy_logits(mini), mini.response_ids_BT)
            _, cost_BTK = channels(targets)
            shift_K = shift_K + surrogate_shift(
                logprobs_BT, ratio_reference(mini.ratio_logprobs_BT, logprobs_BT), cost_BTK, mini.response_mask_BT
            )
        violation_K = self.state.violation_K + mean_over_ranks(module, shift_K / counts.sequences)
        weights = ask_weights(self.penalty, violation_K, self.state.stderr_K)
        metrics: Metrics = {}
        for k, name in enumerate(self.penalty.constraints):
            part = f"{name}/" if len(self.penalty.constraints) > 1 else ""
            metrics[f"penalty/{part}minibatch_weight"] = weights.cost_K[k]
            metrics[f"penalty/{part}minibatch_violation"] = violation_K[k]
        return weights, metrics
