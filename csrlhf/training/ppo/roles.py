"""The six roles of constrained PPO behind one interface, one model per role; with LoRA policy and reference share one.

The policy module asks for policy logits, reference log-probs, rewards, costs and values, and never for a model.
Frozen roles read text or token ids and stay out of checkpoints: their folders are inputs of the stage.

Legend: B sequences, T response tokens, V vocabulary, K constraints, C = 1 + K value channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import is_encoder_tokenizer
from csrlhf.generation.recompute import computes_alike, recomputed, sequence_logprobs
from csrlhf.generation.sampler import Sampler
from csrlhf.models.checks import check_end_token, check_vocabulary
from csrlhf.models.frozen_layers import FrozenLayers
from csrlhf.models.loading import load_policy, load_tokenizer, load_trunk, name_ends, seeded
from csrlhf.models.score_model import ScoreModel
from csrlhf.models.settings import ChatSettings, Tuning, TuningMethod
from csrlhf.models.text_scorer import TextScorer
from csrlhf.models.tuning import tune, without_adapters
from csrlhf.scorers.costs import CostScorers, cost_scorer, reward_scorer
from csrlhf.types import PromptBatch, Rollout, Scores

FROZEN = ("reference", "reward_model", "cost_model")


class SeparateRoles(nn.Module):
    """Policy, frozen reference, critic (if any; a column per channel), frozen reward model and cost model or models."""

    def __init__(
        self,
        policy_path: str | Path,
        reward: Any,
        cost: CostScorers,
        sampler: Sampler,
        constraints: Sequence[str],
        seed: int = 0,
        policy_tuning: Tuning | None = None,
        critic_tuning: Tuning | None = None,
        with_critic: bool = True,
        chat: ChatSettings | None = None,
    ) -> None:
        """Load every role.

        Args:
            policy_path: the SFT folder: the policy's start and the reference.
            reward: the scorer that gives the reward: a folder of ``stage=reward``, or any other (scorers/specs.py).
            cost: the scorer, or scorers, of the constraints.
            sampler: knows the sampling distribution, in which all log-probs are taken.
            constraints: names of the K constraints, in their order.
            seed: of the critic's head, and of adapters.
            policy_tuning: which of the policy's weights are trained; None for all.
            critic_tuning: likewise of the critic; its head always is.
            with_critic: False for an advantage estimator that needs none.
            chat: how conversations are written; None as the SFT folder has it.
        """
        super().__init__()
        self.sampler = sampler
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(policy_path, chat)
        check_end_token(self.tokenizer, f"inputs.sft={policy_path}")
        self.policy = load_policy(policy_path)
        check_vocabulary(self.policy, self.tokenizer, f"inputs.sft={policy_path}")
        name_ends(self.policy, self.tokenizer)
        self.reward_model = reward_scorer(reward)
        self.cost_model = cost_scorer(cost, constraints)
        policy_tuning = policy_tuning or Tuning()
        # A policy with adapters is its own reference where these are off.
        own_reference = policy_tuning.method == TuningMethod.lora
        self.reference = None if own_reference else load_policy(policy_path).requires_grad_(False)
        with seeded(seed):
            tune(self.policy, policy_tuning)
        self.frozen = FrozenLayers.of(self.policy)
        self.reference_frozen = self.frozen
        if self.frozen is not None and self.reference is not None:
            self.reference_frozen = FrozenLayers.first(self.reference, len(self.frozen.layers))
        self.critic: ScoreModel | None = None
        if with_critic:
            tuning = critic_tuning or Tuning()
            self.critic = self._build_critic(policy_path, len(constraints), seed, tuning)

    def _build_critic(self, policy_path: str | Path, num_constraints: int, seed: int, tuning: Tuning) -> ScoreModel:
        """A critic whose trunk is that of a reward model of ours which reads the policy's tokens, else the policy's."""
        scorer = self.reward_model
        same_tokens = (
            isinstance(scorer, TextScorer)
            and not is_encoder_tokenizer(scorer.tokenizer)
            and scorer.tokenizer.get_vocab() == self.tokenizer.get_vocab()
        )
        trunk = load_trunk(scorer.folder if same_tokens else policy_path)  # type: ignore[arg-type]  # a folder then
        outputs = ("reward", *(f"cost_{k}" for k in range(num_constraints)))
        with seeded(seed):
            # It reads every token of what it is handed: the length is of no use to it.
            critic = ScoreModel(trunk, outputs, pooling="last", max_tokens=getattr(scorer, "max_tokens", 0))
            tune(critic.backbone, tuning)
        return critic

    def keep_scores(self, folder: Path) -> None:
        """Let scorers keep what they are given from far, for a run that goes on (``scorers/kept.py``)."""
        for scorer in (self.reward_model, self.cost_model):
            scorer.keep_in(folder)

    def train(self, mode: bool = True) -> SeparateRoles:
        """Dropout stays off in every role: the ratio of an un-updated policy must be 1."""
        return super().train(False)

    def sample(self, prompts: PromptBatch, seed: int, iteration: int) -> Rollout:
        """Responses of the policy as it stands; ``iteration`` names the noise."""
        return self.sampler(self.policy, self.tokenizer, prompts, seed, iteration, frozen=self.frozen)

    def policy_logits(self, rollout: Rollout) -> Tensor:
        """Logits [B, T, V] of the sampling distribution at the response positions, with gradients."""
        return self.sampler.response_distribution(self.policy, rollout, self.ends, frozen=self.frozen)

    def with_old_logprobs(self, rollout: Rollout, asked: str) -> Rollout:
        """The rollout with what its importance ratios are taken against: the policy has not moved since.

        Args:
            rollout: as the sampler made it.
            asked: a ``config.OldLogprobs``.
        """
        if asked == "sampled" or (asked == "auto" and computes_alike(self.policy)):
            return rollout
        return recomputed(rollout, self.sampler, self.policy, self.ends, self.frozen)

    def reference_logprobs(self, rollout: Rollout) -> Tensor:
        """The reference's log-probs [B, T] of the sampled tokens, at the same temperature, not truncated."""
        asked: Any = {"ends": self.ends, "truncated": False, "frozen": self.reference_frozen}
        if self.reference is not None:
            return sequence_logprobs(self.sampler, self.reference, rollout, **asked)[1]
        with without_adapters(self.policy):
            return sequence_logprobs(self.sampler, self.policy, rollout, **asked)[1]

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids of the tokens that end the policy's turns."""
        return format_of(self.tokenizer).ends(self.policy)

    def score(self, rollout: Rollout) -> Scores:
        """Rewards [B] and cost logits [B, K] of the responses, as texts."""
        prompts = [row.prompt for row in rollout.rows]
        ended = rollout.ended_B.tolist()
        return Scores(
            reward_B=self.reward_model.score(prompts, rollout.responses, ended)[:, 0],
            cost_logits_BK=self.cost_model.score(prompts, rollout.responses, ended),
        )

    def values(self, rollout: Rollout) -> Tensor | None:
        """The critic's values [B, T, C] *before* each response token (what is known when it is chosen).

        None where the estimator needs no critic.
        """
        if self.critic is None:
            return None
        scores_BSC = self.critic.token_scores(rollout.sequence_ids_BS, rollout.sequence_mask_BS)
        num_tokens = rollout.response_ids_BT.shape[1]
        return scores_BSC[:, -num_tokens - 1 : -1]
