"""What a policy module is made of and what Lightning asks of it beside the steps: models, optimisers, checkpoints.

The algorithm itself is in :mod:`csrlhf.modules.policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from csrlhf.advantages.base import Estimator, check_samples
from csrlhf.constraints.base import Constraint, Constraints
from csrlhf.errors import UserError
from csrlhf.models.loading import load_tokenizer
from csrlhf.models.tuning import Tuning, save_merged
from csrlhf.modules.checkpoints import leave_out_frozen, put_back_frozen
from csrlhf.modules.optim import build_optimizer, check_optimizer
from csrlhf.modules.ppo_config import PPOConfig
from csrlhf.modules.ppo_recheck import check_recheck
from csrlhf.modules.ppo_update import PPOUpdate
from csrlhf.modules.selection import Selection, copy_folder
from csrlhf.modules.token_rewards import TokenRewards
from csrlhf.penalties.base import Penalty
from csrlhf.penalties.monitor import PenaltyMonitor
from csrlhf.rollout.roles import FROZEN, SeparateRoles
from csrlhf.rollout.sampler import Sampler


class PolicyBase(LightningModule):
    """Parts and life of a policy module.

    Manual optimisation, because one iteration makes several optimiser steps. The iteration count is ours (a
    buffer, checkpointed): Lightning's ``global_step`` counts optimiser steps.
    """

    iteration: Tensor

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sampler: Sampler,
        penalty: Penalty,
        constraints: Mapping[str, Constraint],
        advantage: Estimator,
        ppo: PPOConfig,
        selection: Selection,
        policy_optimizer: Mapping[str, Any],
        critic_optimizer: Mapping[str, Any],
        seed: int = 0,
        policy_tuning: Tuning | None = None,
        critic_tuning: Tuning | None = None,
    ) -> None:
        """Keep the parts; models are loaded in ``configure_model``.

        Args:
            inputs: folders of the stages ``sft``, ``reward`` and ``cost`` (this one or several, see ``cost_scorer``).
            sampler: draws responses.
            penalty: the strategy.
            constraints: by name, one per output of the cost model.
            advantage: the estimator.
            ppo: numbers of the update.
            selection: checkpoint selection.
            policy_optimizer: keyword arguments of ``build_optimizer``.
            critic_optimizer: likewise.
            seed: of sampling, minibatches, the critic's head and adapters.
            policy_tuning: which of the policy's weights are trained; None for all.
            critic_tuning: likewise of the critic.
        """
        super().__init__()
        if sampler.greedy:
            raise UserError(
                "rollout.greedy=true: PPO learns from samples, and greedy decoding draws none; for greedy responses in "
                """the evaluation alone write 'pipeline.evaluate=["rollout.greedy=true"]'"""
            )
        for settings in (policy_optimizer, critic_optimizer):
            check_optimizer(**settings)
        check_samples(advantage, ppo.samples_per_prompt)
        check_recheck(penalty, advantage, ppo)
        if not advantage.needs_critic:
            ppo = replace(ppo, critic_warmup=0)  # there is nothing to warm up, and the policy need not wait for it
        self.automatic_optimization = False
        self.inputs, self.sampler, self.advantage, self.ppo = inputs, sampler, advantage, ppo
        self.constraints = Constraints(constraints)
        self.penalty = penalty
        self.penalty.setup(self.constraints.names)
        self.monitor = PenaltyMonitor(len(self.constraints.names))
        self.token_rewards = TokenRewards(ppo, len(self.constraints.names))
        self.selection = selection
        self.policy_optimizer, self.critic_optimizer = policy_optimizer, critic_optimizer
        self.seed = seed
        self.policy_tuning, self.critic_tuning = policy_tuning, critic_tuning
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))
        self.final_metrics: dict[str, float] = {}
        self.gate_history: list[float] = []

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self.roles.tokenizer if hasattr(self, "roles") else load_tokenizer(self.inputs["sft"])

    def configure_model(self) -> None:
        """Load the six roles, once; five where the estimator needs no critic."""
        if not hasattr(self, "roles"):
            self.roles = SeparateRoles(
                self.inputs["sft"],
                self.inputs["reward"],
                self.inputs["cost"],
                self.sampler,
                self.constraints.names,
                seed=self.seed,
                policy_tuning=self.policy_tuning,
                critic_tuning=self.critic_tuning,
                with_critic=self.advantage.needs_critic,
            )
            self.update = PPOUpdate(self.roles, self.ppo)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for the policy, then one for the critic if there is one."""
        trained: list[tuple[nn.Module, Mapping[str, Any]]] = [(self.roles.policy, self.policy_optimizer)]
        if self.roles.critic is not None:
            trained.append((self.roles.critic, self.critic_optimizer))
        return [build_optimizer(model.named_parameters(), **settings) for model, settings in trained]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Everything that a resumed run needs; the frozen models are inputs, not state."""
        for key in [key for key in checkpoint["state_dict"] if _is_frozen(key)]:
            del checkpoint["state_dict"][key]
        leave_out_frozen(self, checkpoint)
        checkpoint["csrlhf"] = {"gate_history": self.gate_history, "selection": self.selection.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete the state with the frozen models as they were loaded, so that loading stays strict."""
        self.gate_history = list(checkpoint["csrlhf"]["gate_history"])
        self.selection.load_state_dict(checkpoint["csrlhf"]["selection"])
        frozen = {key: value for key, value in self.state_dict().items() if _is_frozen(key)}
        checkpoint["state_dict"] |= frozen
        put_back_frozen(self, checkpoint)

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the selected policy, and the last one beside it in ``last/``."""
        best = self.selection.folder(Path(self.trainer.default_root_dir))
        if best.is_dir():
            copy_folder(best, folder)
        else:
            self._save(folder)
        self._save(folder / "last")

    def _save(self, folder: Path) -> None:
        if self.trainer.is_global_zero:
            save_merged(self.roles.policy, folder)
            self.tokenizer.save_pretrained(folder)


def _is_frozen(key: str) -> bool:
    return key.startswith(tuple(f"roles.{role}." for role in FROZEN))
