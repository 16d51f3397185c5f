"""The two ways of answering that can be certified: one draw per prompt, or best of N with abstention.

Both give one answer per prompt with the cost model's logits of what is really said: of an abstention, of the refusal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from csrlhf.decoding.candidates import answer
from csrlhf.decoding.decoder import Decoder
from csrlhf.decoding.settings import sampling_record
from csrlhf.evaluation.abstention import DECODED
from csrlhf.models.cost_models import CostFolders, cost_scorer
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.text_scorer import TextScorer
from csrlhf.rollout.sampler import Sampler
from csrlhf.types import Prompt, PromptBatch

CERTIFY_NOISE = -4
"""Iteration number of plain answers' noise: none of training's, validation's, evaluation's or decoding's draws."""


@dataclass(frozen=True)
class Spoken:
    """What was said to a prompt.

    Attributes:
        response: the text.
        ended: False where it was cut off.
        cost_logits: one per constraint, of this text.
        reward: by the reward model; None without one.
        meta: of best-of-N: what was drawn and accepted.
    """

    response: str
    ended: bool
    cost_logits: tuple[float, ...]
    reward: float | None
    meta: dict[str, Any] = field(default_factory=dict)


class _Judged:
    """The scorers of both ways."""

    def __init__(self, cost: CostFolders, constraints: Sequence[str], reward: str | None) -> None:
        self.cost = cost_scorer(cost, constraints)
        self.reward = None if reward is None else TextScorer(reward, outputs=("reward",))

    def logits(self, prompts: Sequence[Prompt], texts: Sequence[str], ended: Sequence[bool]) -> list[tuple[float, ...]]:
        return [tuple(row) for row in self.cost.score(prompts, texts, ended).tolist()]

    def rewards(self, prompts: Sequence[Prompt], texts: Sequence[str], ended: Sequence[bool]) -> list[float | None]:
        if self.reward is None:
            return [None] * len(prompts)
        return self.reward.score(prompts, texts, ended)[:, 0].tolist()

    def to(self, device: torch.device) -> None:
        for model in (self.cost, self.reward):
            if model is not None:
                model.to(device)


class Plain(_Judged):
    """One draw per prompt."""

    def __init__(
        self,
        policy: str | Path,
        cost: CostFolders,
        constraints: Sequence[str],
        reward: str | None,
        sampler: Sampler,
        seed: int,
    ) -> None:
        """Load the models; the arguments are those of the module."""
        super().__init__(cost, constraints, reward)
        self.policy = load_policy(policy).requires_grad_(False).eval()
        self.tokenizer, self.sampler, self.seed = load_tokenizer(policy), sampler, seed

    def answer(self, prompts: PromptBatch, device: torch.device) -> list[Spoken]:
        """Answer a chunk."""
        self.to(device)
        self.policy.to(device)  # type: ignore[arg-type]  # transformers' signature hides torch's
        rollout = self.sampler(self.policy, self.tokenizer, prompts, self.seed, CERTIFY_NOISE)
        asked, ended = [row.prompt for row in rollout.rows], rollout.ended_B.tolist()
        logits = self.logits(asked, rollout.responses, ended)
        rewards = self.rewards(asked, rollout.responses, ended)
        return [Spoken(*said) for said in zip(rollout.responses, ended, logits, rewards, strict=True)]


class BestOfN(_Judged):
    """Best of N with abstention, by the decoder that serves it."""

    def __init__(
        self,
        policy: str | Path,
        cost: CostFolders,
        constraints: Sequence[str],
        reward: str | None,
        sampler: Sampler,
        seed: int,
        n: int,
        rule: str,
        threshold: float,
        refusal: str,
    ) -> None:
        """Load the models; the arguments are those of the module."""
        super().__init__(cost, constraints, reward)
        self.rule, self.refusal = rule, refusal
        self.decoder = Decoder(
            policy, reward, cost, n, threshold, rule, refusal, seed, device="cpu", **sampling_record(sampler)
        )

    def answer(self, prompts: PromptBatch, device: torch.device) -> list[Spoken]:
        """Answer a chunk. All N are drawn, so that abstention is known for every smaller N, too."""
        self.to(device)
        self.decoder.device = device
        for model in (self.decoder.policy, self.decoder.cost, self.decoder.reward):
            if model is not None:
                model.to(device)  # type: ignore[arg-type,operator]  # a union of modules
        asked = [row.prompt for row in prompts.rows]
        texts = [prompt if isinstance(prompt, str) else list(prompt) for prompt in asked]
        drawn = self.decoder.candidates(texts, index=prompts.index_B.tolist())
        decoded = [answer(prompt, tries, self.rule, self.refusal) for prompt, tries in zip(asked, drawn, strict=True)]
        said = [one.response for one in decoded]
        ended = [one.abstained or next(c.ended for c in tries if c.response == one.response)
                 for one, tries in zip(decoded, drawn, strict=True)]  # fmt: skip
        logits, rewards = self.logits(asked, said, ended), self.rewards(asked, said, ended)
        return [
            Spoken(
                one.response,
                ended[b],
                logits[b],
                rewards[b],
                {
                    DECODED: {
                        "abstained": one.abstained,
                        "tried": one.tried,
                        "accepted": [candidate.accepted for candidate in drawn[b]],
                        "costs": [dict(candidate.costs) for candidate in drawn[b]],
                    }
                },
            )
            for b, one in enumerate(decoded)
        ]


def decoding_record(decode: str, sampler: Sampler, seed: int, best_of_n: Mapping[str, Any]) -> dict[str, Any]:
    """The decode settings in a certificate, with a hash over those that the answers' distribution depends on."""
    settings = {"decode": decode, "sampling": sampling_record(sampler)}
    settings |= dict(best_of_n) if decode == "best_of_n" else {}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return {**settings, "seed": seed, "sha256": digest}
