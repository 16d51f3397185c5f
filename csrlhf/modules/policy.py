"""Stage ``ppo``: one ``training_step`` is one iteration of constrained PPO, and reads as its table of contents.

What the module is made of (models, optimisers, checkpoints) is in :mod:`csrlhf.modules.policy_base`.

Legend: B sequences, T response tokens, K constraints, C = 1 + K channels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csrlhf.advantages.base import ask_estimator
from csrlhf.constraints.base import ConstraintState
from csrlhf.modules.guards import require_finite
from csrlhf.modules.policy_base import PolicyBase
from csrlhf.modules.policy_metrics import constraint_metrics, effective_multipliers, rollout_metrics
from csrlhf.modules.preflight import check_reachable, check_warmup
from csrlhf.modules.ranks import (
    gather_lists,
    gather_rows,
    mean_over_ranks,
    means_over_ranks,
    num_ranks,
    sum_over_ranks,
)
from csrlhf.modules.validation import ValidationMeter
from csrlhf.ops.groups import Groups, consecutive_groups
from csrlhf.ops.masking import sequence_sum
from csrlhf.ops.shaping import kl_k1, kl_k3
from csrlhf.penalties.base import Weights, ask_weights
from csrlhf.types import Advantages, PromptBatch, Rollout, Scores

VALIDATION_NOISE = -1
"""Iteration number of evaluation's sampling noise: the same draws at every evaluation, none of training's."""


class PolicyModule(PolicyBase):
    """CS-RLHF, Safe-RLHF and plain PPO: the penalty strategy is the difference."""

    def on_fit_start(self) -> None:
        """Refuse settings that could only waste the run; tell the selection how often it will look."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning attaches it
        self.selection.num_looks = max(self.trainer.max_epochs or 1, 1)
        assert data.samples_per_prompt == self.ppo.samples_per_prompt, "the module's groups are not the data's"
        check_warmup(self.ppo.critic_warmup, data.iterations)
        self.update.start(data)
        if self.penalty.constrains and self.trainer.limit_val_batches:
            check_reachable(
                self.constraints, self.selection.level(len(self.constraints.names)), len(data.rows["validation"])
            )

    def training_step(self, prompts: PromptBatch, batch_idx: int) -> None:
        """One PPO iteration (docs/explanation/algorithm.md)."""
        rollout = self.generate(prompts)  # 1 sample responses
        scores = self.score(rollout)  # 2 reward [B], cost logits [B, K]
        state = self.constraints(scores.cost_logits_BK, partial(gather_rows, self), remember=True)  # 3 J - d, [K]
        weights = ask_weights(self.penalty, state.violation_K, state.stderr_K)  # 4 fixed-λ hinge, dual, ...
        advantages, kl = self.estimate_advantages(rollout, scores, state, weights)  # 5 KL, GAE or critic-free, mix
        losses = self.optimize(rollout, advantages, state)  # 6 epochs x minibatches
        num_tokens = mean_over_ranks(self, rollout.response_mask_BT.sum().double())
        figures = means_over_ranks(self, rollout_metrics(rollout, scores, num_tokens) | kl | losses)
        if int(self.iteration) >= self.ppo.critic_warmup:  # a frozen policy says nothing about λ or β
            self.penalty.update(state.violation_K)  # 7 dual step; nothing for a fixed λ
            self.token_rewards.kl_control.update(figures["policy/kl"], len(rollout.rows) * num_ranks(self))
        self.monitor.update(weights, state.violation_K)
        self.gate_history.append(float((weights.cost_K > 0).float().mean()))
        self.iteration += 1
        prices = self.penalty.metrics()
        self.log_dict(
            figures
            | prices
            | effective_multipliers(self.constraints.names, prices, self.token_rewards.scale.price_K)
            | constraint_metrics(self.constraints.names, state, weights, self.monitor),
            batch_size=1,
        )

    def generate(self, prompts: PromptBatch, noise: int | None = None) -> Rollout:
        """Sample one response per prompt; ``noise`` is the iteration number of the draws."""
        iteration = int(self.iteration) if noise is None else noise
        return self.sampler(self.roles.policy, self.tokenizer, prompts, self.seed, iteration)

    def score(self, rollout: Rollout) -> Scores:
        """Rewards and costs from the frozen models, checked to be finite."""
        scores = self.roles.score(rollout)
        sums = {"train/reward": scores.reward_B.sum(), "train/cost": scores.cost_logits_BK.sum()}
        for name, mean in means_over_ranks(self, sums).items():  # not finite where one score of any process is not
            require_finite(name, mean, int(self.iteration))
        return scores

    @torch.no_grad()
    def estimate_advantages(
        self, rollout: Rollout, scores: Scores, state: ConstraintState, weights: Weights
    ) -> tuple[Advantages, dict[str, Tensor]]:
        """Token rewards, advantages per channel, the mix; and the KL to the reference as metrics."""
        mask_BT, total = rollout.response_mask_BT, partial(sum_over_ranks, self)
        reference_BT = self.roles.reference_logprobs(rollout)
        k1_BT = kl_k1(rollout.logprobs_BT, reference_BT)
        k3_BT = kl_k3(rollout.logprobs_BT, reference_BT)
        kl = {
            "policy/kl": sequence_sum(k1_BT, mask_BT).mean(),
            "policy/kl_k3": sequence_sum(k3_BT, mask_BT).mean(),
            "policy/kl_coef": self.token_rewards.kl_control.coef.clone(),  # of these rewards; it may move afterwards
        }
        rewards_BTC = self.token_rewards(scores.reward_B, state, k1_BT, mask_BT, self.penalty, total)
        values_BTC, groups = self.roles.values(rollout), self.groups(rollout)
        return ask_estimator(self.advantage, rewards_BTC, values_BTC, mask_BT, weights, total=total, groups=groups), kl

    def groups(self, rollout: Rollout) -> Groups:
        """Which responses share a prompt; the groups of a prompt whose responses two processes hold are one."""
        size, count = len(rollout.rows), num_ranks(self)
        first = self.global_rank * size if count > 1 else 0
        return consecutive_groups(
            first, size, size * count, self.ppo.samples_per_prompt, rollout.response_mask_BT.device
        )

    def optimize(self, rollout: Rollout, advantages: Advantages, state: ConstraintState) -> dict[str, Tensor]:
        """The optimiser steps of one iteration; figures of them."""
        return self.update(self, rollout, advantages, self.seed, int(self.iteration), penalty=self.penalty, state=state)

    def on_validation_epoch_start(self) -> None:
        """Start a fresh evaluation."""
        self.meter = ValidationMeter(self.constraints)

    def validation_step(self, prompts: PromptBatch, batch_idx: int) -> dict[str, Any]:
        """Answer validation prompts with the policy as it stands; the noise is the same each time.

        Returns:
            ``rollout`` and ``scores``, for callbacks (tables of sample dialogues).
        """
        rollout = self.generate(prompts, VALIDATION_NOISE)
        scores = self.roles.score(rollout)
        logits = self.roles.policy_logits(rollout)
        kl_BT = kl_k1(rollout.logprobs_BT, self.roles.reference_logprobs(rollout))
        self.meter.add(rollout, scores, logits, sequence_sum(kl_BT, rollout.response_mask_BT))
        return {"rollout": rollout, "scores": scores}

    def on_validation_epoch_end(self) -> None:
        """Log the evaluation, keep the policy if it is the best so far, look for a collapse."""
        result = self.meter.result(partial(gather_lists, self))
        work = Path(self.trainer.default_root_dir)
        self.selection.consider(
            int(self.iteration), result, lambda: self._save(self.selection.folder(work)), self.penalty.constrains
        )
        self.log_dict(result.metrics() | self.selection.metrics(), batch_size=1)
        self.selection.check_collapse(self.trainer)

    def on_fit_end(self) -> None:
        """Figures of the whole run."""
        last_third = self.gate_history[-max(len(self.gate_history) // 3, 1) :]
        self.final_metrics |= {"penalty/duty_last_third": sum(last_third) / max(len(last_third), 1)}
        self.final_metrics |= self.selection.final_metrics()
        self.selection.check_reward()
