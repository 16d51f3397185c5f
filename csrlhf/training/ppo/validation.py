"""What one evaluation on validation prompts says of a policy, without an oracle.

Legend: B sequences, T response tokens, V vocabulary, K constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from csrlhf.constraints.set import Constraints
from csrlhf.ops.logprobs import entropy
from csrlhf.ops.masking import sequence_mean
from csrlhf.refusals.build import Refusals
from csrlhf.refusals.words import WordJudge
from csrlhf.types import PromptRow, Rollout, Scores

VALIDATION_NOISE, CONFIRMATION_NOISE = -1, -2
"""Iteration numbers of the sampling noise: the same draws at every evaluation, others for the confirmation, none of
training's."""


@dataclass(frozen=True)
class ValidationResult:
    """One evaluation.

    Attributes:
        count: prompts, over all ranks.
        reward: mean reward.
        reward_std: standard deviation of the single answers' rewards.
        value_K: each constraint's statistic J of these answers alone, whatever memory training has.
        stderr_K: its standard error.
        threshold_K: d.
        names: of the constraints.
        upper_bound_K: from a confidence to one-sided upper bounds on J (``Constraint.upper_bound``).
        kl: mean sequence KL to the reference (k1).
        entropy: mean token entropy in nats.
        refusal_rate: share of answers that refuse.
        distinct: distinct answers over all answers, in (0, 1].
    """

    count: int
    reward: float
    reward_std: float
    value_K: tuple[float, ...]
    stderr_K: tuple[float, ...]
    threshold_K: tuple[float, ...]
    names: tuple[str, ...]
    upper_bound_K: Callable[[float], tuple[float, ...]]
    kl: float
    entropy: float
    refusal_rate: float
    distinct: float

    def metrics(self) -> dict[str, float]:
        """Flat, keyed ``validation/...``."""
        metrics = {
            "validation/reward": self.reward,
            "validation/kl": self.kl,
            "validation/entropy": self.entropy,
            "validation/refusal_rate": self.refusal_rate,
            "validation/distinct": self.distinct,
        }
        for k, name in enumerate(self.names):
            metrics |= {f"validation/{name}/cost": self.value_K[k], f"validation/{name}/stderr": self.stderr_K[k]}
        return metrics


class ValidationMeter:
    """Collects the batches of one evaluation."""

    def __init__(self, constraints: Constraints, refusals: Refusals | None = None) -> None:
        """Start empty; ``refusals`` says which answers refuse, None for their words."""
        self.constraints, self.refusals = constraints, refusals or WordJudge()
        self.cost_logits: list[Tensor] = []
        self.per_sample: list[Tensor] = []
        self.responses: list[str] = []
        self.rows: list[PromptRow] = []

    def add(self, rollout: Rollout, scores: Scores, logits_BTV: Tensor, kl_B: Tensor) -> None:
        """Take a batch in."""
        entropy_B = sequence_mean(entropy(logits_BTV), rollout.response_mask_BT)
        verdicts = self.refusals.refused([row.prompt for row in rollout.rows], rollout.responses)
        refused_B = torch.tensor(verdicts, dtype=torch.float32)
        columns = [scores.reward_B.float().cpu(), kl_B.float().cpu(), entropy_B.float().cpu(), refused_B]
        self.per_sample.append(torch.stack(columns, dim=-1))
        self.cost_logits.append(scores.cost_logits_BK.cpu())
        self.responses.extend(rollout.responses)
        self.rows.extend(rollout.rows)

    def result(self, gather: Callable[[list[Any]], list[Any]] = list) -> ValidationResult:
        """Figures of all answers.

        Args:
            gather: puts the lists of all processes together; each then finds the same.
        """
        state = self.constraints(torch.cat(gather(self.cost_logits)), rows=gather(self.rows))
        per_sample = torch.cat(gather(self.per_sample))
        responses = gather(self.responses)
        reward, kl, entropy_mean, refusal_rate = per_sample.mean(dim=0).tolist()
        return ValidationResult(
            count=len(responses),
            reward=reward,
            reward_std=per_sample[:, 0].std(correction=0).item(),
            value_K=tuple(state.value_K.tolist()),
            stderr_K=tuple(state.stderr_K.tolist()),
            threshold_K=tuple(state.threshold_K.tolist()),
            names=self.constraints.names,
            upper_bound_K=partial(self.constraints.upper_bounds, state, len(responses)),
            kl=kl,
            entropy=entropy_mean,
            refusal_rate=refusal_rate,
            distinct=len(set(responses)) / len(responses),
        )
