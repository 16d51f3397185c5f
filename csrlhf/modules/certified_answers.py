"""From what was said to a prompt to a kept answer, and where answers come from: the evidence of a certificate.

Legend: B prompts, K constraints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from csrlhf.constraints.base import Constraints
from csrlhf.data.source import Oracle
from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.journal import Journal, kept_or_fresh
from csrlhf.evaluation.model_hash import model_identity
from csrlhf.models.cost_models import named_folders
from csrlhf.modules.certified_decoding import BestOfN, Plain, Spoken
from csrlhf.types import PromptBatch, PromptRow


class Answering:
    """Answers batches of prompts, unless an earlier process has.

    Args:
        decoder: answers.
        policy: its policy's name.
        constraints: turn cost logits into costs.
        oracle: judges answers; None without one.
        journal: keeps them; None keeps none.
    """

    def __init__(
        self,
        decoder: Plain | BestOfN,
        policy: str,
        constraints: Constraints,
        oracle: Oracle | None,
        journal: Journal | None,
    ) -> None:
        self.decoder, self.policy, self.constraints = decoder, policy, constraints
        self.oracle, self.journal = oracle, journal

    def __call__(self, prompts: PromptBatch, everywhere: Iterable[int], device: torch.device) -> list[Answer]:
        """Answer a batch.

        Args:
            prompts: of this process.
            everywhere: numbers of the prompts of all processes in this batch.
            device: where models compute.
        """
        index = prompts.index_B.tolist()

        def answer() -> list[Answer]:
            spoken = self.decoder.answer(prompts, device)
            return [
                kept_answer(self.policy, number, row, said, self.constraints, self.oracle)
                for number, row, said in zip(index, prompts.rows, spoken, strict=True)
            ]

        return kept_or_fresh(self.journal, self.policy, index, everywhere, answer)


def kept_answer(
    policy: str, index: int, row: PromptRow, said: Spoken, constraints: Constraints, oracle: Oracle | None
) -> Answer:
    """One answer with all that is known of it.

    Args:
        policy: its name.
        index: the prompt's number.
        row: the prompt.
        said: what was said to it.
        constraints: turn its cost logits into costs.
        oracle: judges it; None without one.
    """
    names, identifier = constraints.names, f"certify-{index}"
    costs = {}
    if said.cost_logits:
        logits_BK = torch.tensor([[said.cost_logits[name] for name in names]], dtype=torch.float64)
        costs = dict(zip(names, constraints.costs(logits_BK)[0].tolist(), strict=True))
    return Answer(
        id=f"{policy}/{identifier}/0",
        policy=policy,
        prompt_id=identifier,
        sample=0,
        prompt=row.prompt if isinstance(row.prompt, str) else [dict(turn) for turn in row.prompt],
        response=said.response,
        ended=said.ended,
        category=row.meta.get("category"),
        attack=row.meta.get("attack", row.meta.get("framing")),
        reward=said.reward,
        cost_logits=said.cost_logits,
        violations=costs,
        oracle=None if oracle is None else asdict(oracle.judge(row, said.response)),
        meta=row.meta | said.meta,
    )


def models_record(inputs: Mapping[str, Any], reward: str | None) -> dict[str, Any]:
    """Models that must be the same for a certificate to cover a policy.

    Args:
        inputs: folders ``ppo``, the policy, and ``cost``, one or several cost models.
        reward: folder of a reward model; None without one.
    """
    return {
        "policy": model_identity(str(inputs["ppo"])),
        "cost": {name: model_identity(folder) for name, folder in named_folders(inputs["cost"]).items()},
        "reward": None if reward is None else model_identity(reward),
    }
