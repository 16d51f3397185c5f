"""Stage ``ppo``: one ``training_step`` is one iteration of constrained PPO, and reads as its table of contents.

What the module is made of (models, optimisers, checkpoints) stands first.

Legend: B sequences, T response tokens, K constraints, C = 1 + K channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from csrlhf.advantages.base import Estimator, ask_estimator, check_samples
from csrlhf.advantages.gae import GAE
from csrlhf.advantages.scale import RewardScale
from csrlhf.constraints.base import Constraint
from csrlhf.constraints.chance import Chance
from csrlhf.constraints.set import Constraints, ConstraintState
from csrlhf.errors import UserError
from csrlhf.generation.sampler import Sampler
from csrlhf.models.adapters import check_tuning, save_policy
from csrlhf.models.loading import load_tokenizer, resolve_path
from csrlhf.models.settings import ChatSettings, SavedAs, Tuning
from csrlhf.ops.advantages import Groups, consecutive_groups
from csrlhf.ops.masking import sequence_sum
from csrlhf.ops.shaping import kl_k1, kl_k3
from csrlhf.penalties.base import Penalty, PenaltyMonitor, Weights, ask_update, check_shaping
from csrlhf.penalties.gate import OWN_PROMPT, Gate
from csrlhf.penalties.rectified import Rectified
from csrlhf.refusals.build import WORDS, refusal_judge
from csrlhf.runs.artifacts import KEPT
from csrlhf.scorers.build import check_roles
from csrlhf.scorers.specs import plain
from csrlhf.stats.lambda_star import late_mean
from csrlhf.training.checkpoints import leave_out_frozen, put_back_frozen
from csrlhf.training.first_look import evaluate_now
from csrlhf.training.optim import build_optimizer
from csrlhf.training.ppo.config import PPOConfig, check_trainer, check_warmup, fitting_warmup, warn_clipped, warn_inert
from csrlhf.training.ppo.confirmation import Shortlisted, plan, settle
from csrlhf.training.ppo.metrics import constraint_metrics, effective_multipliers, rollout_metrics
from csrlhf.training.ppo.recheck import check_recheck
from csrlhf.training.ppo.rewards import TokenRewards
from csrlhf.training.ppo.roles import FROZEN, SeparateRoles
from csrlhf.training.ppo.selection import Selection, copy_folder
from csrlhf.training.ppo.update import PPOUpdate
from csrlhf.training.ppo.validation import VALIDATION_NOISE, ValidationMeter
from csrlhf.training.ranks import (
    gather_lists,
    gather_rows,
    mean_over_ranks,
    means_over_ranks,
    num_ranks,
    sum_over_ranks,
)
from csrlhf.training.settings import OptimizerSettings
from csrlhf.training.step import require_finite
from csrlhf.types import Advantages, Layout, PromptBatch, Rollout, Scores


class PolicyBase(LightningModule):
    """Parts and life of a policy module, beside the steps: models, optimisers, checkpoints.

    Manual optimisation, because one iteration makes several optimiser steps. The iteration count is ours (a
    buffer, checkpointed): Lightning's ``global_step`` counts optimiser steps.
    """

    iteration: Tensor

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sampler: Sampler | None = None,
        penalty: Penalty | None = None,
        constraints: Mapping[str, Constraint] | None = None,
        advantage: Estimator | None = None,
        ppo: PPOConfig | None = None,
        seed: int = 0,
        policy_tuning: Tuning | None = None,
        critic_tuning: Tuning | None = None,
        save: SavedAs = SavedAs.merged,
        chat: ChatSettings | None = None,
        refusals: str = WORDS,
    ) -> None:
        """Keep the parts; models are loaded in ``configure_model``.

        Args:
            inputs: the folder ``sft``, and the scorers ``reward`` and ``cost`` (one or several, see ``cost_scorer``).
            sampler: draws responses; None for ``Sampler()``.
            penalty: the strategy; None for ``Rectified()``.
            constraints: by name, one per output of the cost model; None for ``{"harm": Chance()}``.
            advantage: the estimator; None for ``GAE()``.
            ppo: numbers of the update, optimisers, and checkpoint selection; None for ``PPOConfig()``.
            seed: of sampling, minibatches, the critic's head and adapters.
            policy_tuning: which of the policy's weights are trained; None for all.
            critic_tuning: likewise of the critic.
            save: what the folders of the policy hold.
            chat: how conversations are written; None as the SFT folder has it.
            refusals: who finds refusals among validation answers: ``words``, or a judge's folder.
        """
        super().__init__()
        sampler, penalty, advantage = sampler or Sampler(), penalty or Rectified(), advantage or GAE()
        constraints, ppo = constraints or {"harm": Chance()}, ppo or PPOConfig()
        if sampler.greedy:
            raise UserError(
                "rollout.greedy=true: PPO learns from samples, and greedy decoding draws none; for greedy responses in "
                """the evaluation alone write 'pipeline.evaluate=["rollout.greedy=true"]'"""
            )
        check_roles(inputs)
        check_samples(advantage, ppo.samples_per_prompt)
        check_recheck(penalty, advantage, ppo)
        # Without a critic there is nothing to warm up, and the policy need not wait for it.
        warmup = fitting_warmup(ppo.critic_warmup, ppo.iterations) if advantage.needs_critic else 0
        ppo = replace(ppo, critic_warmup=warmup)
        self.automatic_optimization = False
        self.save_hyperparameters({"inputs": plain(inputs), "seed": seed}, logger=False)
        self.inputs, self.sampler, self.advantage, self.ppo = inputs, sampler, advantage, ppo
        self.constraints, self.refusals = Constraints(constraints), refusal_judge(refusals)
        check_shaping(penalty, list(self.constraints.kinds))
        self.penalty = penalty
        self.penalty.setup(self.constraints.names)
        self.gate = Gate(getattr(penalty, "gate", "batch"), len(self.constraints.names))
        self.gate.parts(ppo.batch_size, ppo.samples_per_prompt)  # refuses a batch of one prompt before anything loads
        self.gate.check_least(self.constraints.least_counts, ppo.batch_size, ppo.samples_per_prompt)
        self.monitor = PenaltyMonitor(len(self.constraints.names))
        self.token_rewards = TokenRewards(ppo, len(self.constraints.names))
        self.advantage_scale = RewardScale() if getattr(advantage, "normalise", None) == "reward" else None
        self.selection = Selection(ppo.selection)
        self.seed, self.chat = seed, chat
        self.policy_tuning, self.critic_tuning, self.saved_as = policy_tuning, critic_tuning, SavedAs(save)
        check_tuning(self.saved_as, policy_tuning or Tuning())
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))
        self.final_metrics: dict[str, float] = {}
        self.gate_history: list[float] = []
        self.clip_history: list[float] = []

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self.roles.tokenizer if hasattr(self, "roles") else load_tokenizer(self.inputs["sft"], self.chat)

    def configure_model(self) -> None:
        """Load the six roles, once; five where the estimator needs no critic."""
        if not hasattr(self, "roles"):
            models = self.inputs["sft"], self.inputs["reward"], self.inputs["cost"]
            self.roles = SeparateRoles(
                *models, self.sampler, self.constraints.names, seed=self.seed, policy_tuning=self.policy_tuning,
                critic_tuning=self.critic_tuning, with_critic=self.advantage.needs_critic, chat=self.chat,
            )  # fmt: skip
            self.update = PPOUpdate(self.roles, self.ppo)
            if self._trainer is not None:
                self.roles.keep_scores(Path(self.trainer.default_root_dir) / KEPT)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser for the policy, then one for the critic if there is one."""
        trained: list[tuple[nn.Module, OptimizerSettings]] = [(self.roles.policy, self.ppo.policy_optimizer)]
        if self.roles.critic is not None:
            trained.append((self.roles.critic, self.ppo.critic_optimizer))
        return [build_optimizer(model.named_parameters(), settings) for model, settings in trained]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Everything that a resumed run needs; the frozen models are inputs, not state."""
        for key in [key for key in checkpoint["state_dict"] if _is_frozen(key)]:
            del checkpoint["state_dict"][key]
        leave_out_frozen(self, checkpoint)
        checkpoint["csrlhf"] = {
            "gate_history": self.gate_history,
            "clip_history": self.clip_history,
            "selection": self.selection.state_dict(),
            "parts": self._parts(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete the state with the frozen models as they were loaded, so that loading stays strict.

        Of the constructor's arguments a checkpoint brings ``inputs`` and ``seed``; the others are objects, which a
        checkpoint that is loaded with ``weights_only=True`` cannot hold. They are given again where they are not the
        defaults: ``PolicyModule.load_from_checkpoint(path, penalty=Lagrangian())``.

        Raises:
            UserError: the checkpoint is of another penalty, estimator or constraint than the module.
        """
        for part, kind in checkpoint["csrlhf"].get("parts", {}).items():
            if (own := self._parts().get(part)) != kind:
                raise UserError(
                    f"the checkpoint's {part} is {kind}, the module's is {own}; give {part} as in training: "
                    f"PolicyModule.load_from_checkpoint(path, {part}=...)"
                )
        self.gate_history = list(checkpoint["csrlhf"]["gate_history"])
        self.clip_history = list(checkpoint["csrlhf"].get("clip_history", []))
        self.selection.load_state_dict(checkpoint["csrlhf"]["selection"])
        frozen = {key: value for key, value in self.state_dict().items() if _is_frozen(key)}
        checkpoint["state_dict"] |= frozen
        put_back_frozen(self, checkpoint)

    def _parts(self) -> dict[str, str]:
        """The classes that decide what the state means."""
        pairs = zip(self.constraints.names, self.constraints, strict=True)
        constraints = ", ".join(f"{name}: {_kind(one)}" for name, one in pairs)
        return {"penalty": _kind(self.penalty), "advantage": _kind(self.advantage), "constraints": constraints}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the selected policy, and the last one beside it in ``last/``."""
        best = self.selection.folder(Path(self.trainer.default_root_dir))
        copy_folder(best, folder) if best.is_dir() else self.save(folder)
        self.save(folder / "last")

    def save(self, folder: Path) -> None:
        """Write the policy as it stands, on the main process."""
        if self.trainer.is_global_zero:
            save_policy(self.roles.policy, folder, self.saved_as, resolve_path(self.inputs["sft"]))
            self.tokenizer.save_pretrained(folder)


def _kind(part: object) -> str:
    return type(part).__name__


def _is_frozen(key: str) -> bool:
    return key.startswith(tuple(f"roles.{role}." for role in FROZEN))


class PolicyModule(PolicyBase):
    """CS-RLHF, Safe-RLHF and plain PPO: the penalty strategy is the difference.

    Example, with a Trainer of your own (``csrlhf.train(stage="ppo")`` adds trackers and a result folder)::

        from lightning import Trainer
        from csrlhf.constraints import Chance
        from csrlhf.data.prompts import PromptDataModule
        from csrlhf.data.toy.source import ToyData
        from csrlhf.training.ppo.policy import PolicyModule, PPOConfig

        inputs = {"sft": "artifacts/sft", "reward": "artifacts/reward", "cost": "artifacts/cost"}
        ppo = PPOConfig(iterations=120, eval_every=5, batch_size=128, max_prompt_tokens=64)
        module = PolicyModule(inputs, constraints={"harm": Chance(threshold=0.03)}, ppo=ppo)
        data = PromptDataModule(ToyData(), module.tokenizer, ppo)
        Trainer(max_epochs=-1, reload_dataloaders_every_n_epochs=1).fit(module, data)

    The run ends after ``iterations``. ``PolicyModule.load_from_checkpoint(path, constraints=...)`` brings it back.
    """

    def setup(self, stage: str) -> None:
        """Refuse settings that could only waste the run, before a model is loaded; plan the selection."""
        if stage != "fit":
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning attaches it
        check_trainer(self.trainer, data, self.ppo.samples_per_prompt)
        check_warmup(self.ppo.critic_warmup, data.iterations)
        warn_inert(self.penalty, self.advantage)
        plan(self, data)

    def on_fit_start(self) -> None:
        """Bring the demonstrations of PTX, see that prompts fit, and look for the weights of shortlisted policies."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning attaches it
        self.update.start(data)
        if data.longest is not None:  # now, and not in the iteration that draws it
            self.sampler.check_room(self.roles.policy, *data.longest)
        self.shortlisted = Shortlisted(Path(self.trainer.default_root_dir), self.roles.policy)
        self.selection.forget(self.shortlisted.missing(self.selection.kept))

    def on_train_start(self) -> None:
        """Evaluate the start policy, as the selection's look 0; a resumed run has done so."""
        if int(self.iteration) == 0 and self.selection.last is None:
            evaluate_now(self.trainer)

    def training_step(self, prompts: PromptBatch, batch_idx: int) -> None:
        """One PPO iteration (docs/explanation/algorithm.md)."""
        rollout = self.generate(prompts)  # 1 sample responses
        scores = self.score(rollout)  # 2 reward [B], cost logits [B, K]
        layout = self.layout(rollout)
        gather = partial(gather_rows, self)
        state = self.constraints(scores.cost_logits_BK, gather, True, layout, rollout.rows)  # 3 J - d, [K]
        seen = state.violation_K, state.stderr_K, state.rest, layout, state.chosen_NK
        weighed = self.gate.weigh(self.penalty, *seen)  # 4 hinge, dual
        advantages, kl = self.estimate_advantages(rollout, scores, state, weighed.weights)  # 5 KL, GAE or not, mix
        losses = self.optimize(rollout, advantages, state, weighed.normaliser)  # 6 epochs x minibatches
        num_tokens = mean_over_ranks(self, rollout.response_mask_BT.sum().double())
        figures = means_over_ranks(self, rollout_metrics(rollout, scores, num_tokens) | kl | losses)
        if int(self.iteration) >= self.ppo.critic_warmup:  # a frozen policy says nothing about λ or β
            ask_update(self.penalty, state.news_K, state.silent_K, **weighed.told)  # 7 dual step; nothing for a fixed λ
            self.token_rewards.kl_control.update(figures["policy/kl"], len(rollout.rows) * num_ranks(self))
        self.gate.remember(state.violation_K, state.stderr_K)
        self.monitor.update(weighed.open_K, state.news_K)
        self.gate_history.append(float(weighed.open_K.mean()))
        if "policy/clip_active" in figures:  # not while the critic warms up
            self.clip_history.append(float(figures["policy/clip_active"]))
        self.iteration += 1
        prices = self.penalty.metrics()
        self.log_dict(
            figures
            | prices
            | effective_multipliers(self.constraints.names, prices, self.token_rewards.scale.price_K)
            | constraint_metrics(self.constraints.names, state, weighed, self.monitor),
            batch_size=1,
        )

    def generate(self, prompts: PromptBatch, noise: int | None = None) -> Rollout:
        """Sample one response per prompt; ``noise`` is the iteration number of the draws."""
        iteration = int(self.iteration) if noise is None else noise
        rollout = self.roles.sample(prompts, self.seed, iteration)
        return self.roles.with_old_logprobs(rollout, self.ppo.old_logprobs)

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
        k1_BT = kl_k1(rollout.kl_logprobs_BT, reference_BT)
        k3_BT = kl_k3(rollout.kl_logprobs_BT, reference_BT)
        figures = {
            "policy/kl": sequence_sum(k1_BT, mask_BT).mean(),
            "policy/kl_k3": sequence_sum(k3_BT, mask_BT).mean(),
            "policy/kl_coef": self.token_rewards.kl_control.coef.clone(),  # of these rewards; it may move afterwards
        }
        rewards_BTC = self.token_rewards(scores.reward_B, state, k1_BT, mask_BT, self.penalty, total)
        values_BTC, known = self.roles.values(rollout), {"groups": self.groups(rollout), "scale": self.advantage_scale}
        advantages = ask_estimator(self.advantage, rewards_BTC, values_BTC, mask_BT, weights, total=total, **known)
        if self.advantage_scale is not None:
            figures["policy/advantage_scale"] = self.advantage_scale.divisor
        return advantages, figures

    def groups(self, rollout: Rollout) -> Groups:
        """Which responses share a prompt; the groups of a prompt whose responses two processes hold are one."""
        size, count = len(rollout.rows), num_ranks(self)
        first = self.global_rank * size if count > 1 else 0
        return consecutive_groups(
            first, size, size * count, self.ppo.samples_per_prompt, rollout.response_mask_BT.device
        )

    def layout(self, rollout: Rollout) -> Layout:
        """How the responses of all processes lie, and which of them the gate leaves out for which."""
        size, count, per_prompt = len(rollout.rows), num_ranks(self), self.ppo.samples_per_prompt
        parts_N = self.gate.parts(size * count, per_prompt, rollout.response_mask_BT.device)
        first = self.global_rank * size if count > 1 else 0
        return Layout(per_prompt, first, size, parts_N, inside=self.gate.kind == OWN_PROMPT)

    def optimize(
        self, rollout: Rollout, advantages: Advantages, state: ConstraintState, normaliser: Tensor
    ) -> dict[str, Tensor]:
        """The optimiser steps of one iteration; figures of them."""
        known: dict[str, Any] = {"penalty": self.penalty, "state": state, "normaliser": normaliser}
        return self.update(self, rollout, advantages, self.seed, int(self.iteration), **known)

    def on_validation_epoch_start(self) -> None:
        """Start a fresh evaluation."""
        self.meter = ValidationMeter(self.constraints, self.refusals)

    def validation_step(self, prompts: PromptBatch, batch_idx: int) -> dict[str, Any]:
        """Answer validation prompts with the policy as it stands; the noise is the same each time.

        Returns:
            ``rollout`` and ``scores``, for callbacks (tables of sample dialogues).
        """
        return self.examine(prompts, VALIDATION_NOISE, self.meter)

    def examine(self, prompts: PromptBatch, noise: int, meter: ValidationMeter) -> dict[str, Any]:
        """Let the policy respond as it stands, and tell the meter."""
        rollout = self.generate(prompts, noise)
        scores = self.roles.score(rollout)
        logits = self.roles.policy_logits(rollout)
        kl_BT = kl_k1(rollout.kl_logprobs_BT, self.roles.reference_logprobs(rollout))
        meter.add(rollout, scores, logits, sequence_sum(kl_BT, rollout.response_mask_BT))
        return {"rollout": rollout, "scores": scores}

    def on_validation_epoch_end(self) -> None:
        """Log the evaluation, keep the policy if it comes on the shortlist, look for a collapse."""
        result = self.meter.result(partial(gather_lists, self))
        before = self.selection.kept
        self.selection.consider(int(self.iteration), result)
        if self.trainer.state.fn == "fit" and self.trainer.is_global_zero:
            self.shortlisted.keep(int(self.iteration), self.selection.kept, before)
        self.log_dict(result.metrics() | self.selection.metrics(), batch_size=1)
        self.selection.collapse.warn(self.trainer)

    def on_fit_end(self) -> None:
        """Figures of the whole run; a warning where the gradient clip took λ its meaning."""
        self.final_metrics |= {"penalty/duty_last_third": late_mean(self.gate_history)}
        if self.penalty.constrains:
            warn_clipped(self.ppo, self.clip_history)
        self.final_metrics |= settle(self) | self.selection.final_metrics()
        self.selection.check_reward()
