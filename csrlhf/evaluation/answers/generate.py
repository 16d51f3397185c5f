"""Policies answer a batch of prompts, and scorers say what they make of it: one ``Answer`` for each.

Which batches, and how answers are kept, is the module's part (``policies/module.py``); what they mean taken together,
``policies/analysis.py``'s.

Legend: B sequences, T response tokens, K constraints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from csrlhf import __version__
from csrlhf.constraints.set import Constraints
from csrlhf.data.chat_format import format_of
from csrlhf.data.chat_templates import chat_record, template_of
from csrlhf.data.prompt_sets import PROMPT_ID
from csrlhf.data.source import Oracle
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.answers.labels import JUDGE_LOGITS
from csrlhf.evaluation.answers.records import Answer, answer_to, attack_of, prompt_id_of
from csrlhf.generation.recompute import computes_alike, recomputed, sequence_logprobs
from csrlhf.generation.sampler import Sampler, sampling_record
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.settings import ChatSettings
from csrlhf.ops.masking import sequence_sum
from csrlhf.ops.shaping import kl_k1
from csrlhf.runs.artifacts import fingerprint_of
from csrlhf.scorers import specs
from csrlhf.scorers.base import Scorer
from csrlhf.scorers.costs import cost_scorer, finite_scores, reward_scorer
from csrlhf.types import PromptBatch, Rollout


def about_answers(
    inputs: Mapping[str, Any], folders: Mapping[str, str], sampler: Sampler, chat: ChatSettings | None = None
) -> dict[str, Any]:
    """Fingerprints of everything that takes part in answering, and how answers are drawn.

    Args:
        inputs: the folder ``sft``, and the scorers ``reward`` and ``cost``.
        folders: of the policies, by name.
        sampler: that draws.
        chat: how conversations are written, where that is not as the SFT folder has it.
    """
    return {
        "csrlhf": __version__,
        "policies": {name: fingerprint_of(str(folder)) for name, folder in folders.items()},
        "inputs": {name: specs.fingerprint(inputs[name]) for name in ("sft", "reward", "cost")},
        "decoding": sampling_record(sampler) | chat_record(chat),
    }


TEST_NOISE = -2
"""Iteration number of the test's sampling noise: none of training's or validation's draws."""


class Answering(nn.Module):
    """Policies by name, with the reference, the reward model and the cost models that score what they say.

    Args:
        inputs: the folder ``sft``, and the scorers ``reward`` and ``cost`` (one or several, see ``cost_scorer``).
        folders: of the policies, by name.
        constraints: by name, one per output of the cost model.
        sampler: draws responses, for all policies alike.
        seed: of sampling.
        samples_per_prompt: answers to each prompt.
        chat: how conversations are written, for all policies; None as the SFT folder has it.

    Raises:
        UserError: a policy has another tokenizer than ``inputs.sft``, or a model lacks a constraint.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        folders: Mapping[str, str],
        constraints: Constraints,
        sampler: Sampler,
        seed: int,
        samples_per_prompt: int,
        chat: ChatSettings | None = None,
    ) -> None:
        super().__init__()
        self.constraints, self.sampler, self.seed, self.num_samples = constraints, sampler, seed, samples_per_prompt
        self.tokenizer = load_tokenizer(inputs["sft"], chat)
        self._check_vocabularies(inputs["sft"], folders, chat)
        loaded: dict[str, PreTrainedModel] = {}
        for folder in (inputs["sft"], *folders.values()):
            if folder not in loaded:
                loaded[folder] = load_policy(folder)
        self.policies = nn.ModuleDict({name: loaded[folder] for name, folder in folders.items()})
        self.reference = loaded[inputs["sft"]]
        self.reward_model = reward_scorer(inputs["reward"])
        self.cost_model = cost_scorer(inputs["cost"], constraints.names)

    def _check_vocabularies(self, sft: str, folders: Mapping[str, str], chat: ChatSettings | None) -> None:
        """Answers of all policies are drawn through one tokenizer: another one's ids would be other words."""
        mine = self.tokenizer.get_vocab()
        for name, folder in folders.items():
            theirs = load_tokenizer(folder, chat)
            if theirs.get_vocab() != mine:
                raise UserError(
                    f"evaluate.policies.{name}={folder}: its tokenizer is not that of inputs.sft={sft}, "
                    "the reference of the KL; evaluate it with an inputs.sft of its own family"
                )
            if template_of(theirs) != template_of(self.tokenizer):
                warnings.warn(
                    f"evaluate.policies.{name}={folder}: was trained with another chat template or system prompt than "
                    f"inputs.sft={sft}, and is asked in that one's; give all one model.chat_template and "
                    "model.system_prompt, or evaluate it with an inputs.sft of its own",
                    InputWarning,
                    stacklevel=2,
                )

    @torch.no_grad()
    def forward(self, policy: str, prompts: PromptBatch, oracle: Oracle | None) -> list[Answer]:
        """A policy's answers to a batch, with the same noise whichever policy it is, scored.

        Args:
            policy: its name.
            prompts: answer ``j`` to prompt ``n`` has the index ``n k + j`` with ``k`` answers to each.
            oracle: the judge of a generated world.
        """
        model: Any = self.policies[policy]
        rollout = self.sampler(model, self.tokenizer, prompts, self.seed, TEST_NOISE)
        asked, ended = [row.prompt for row in rollout.rows], rollout.ended_B.tolist()
        said = asked, rollout.responses, ended
        reward_B = finite_scores("inputs.reward", self.reward_model, self.reward_model.score(*said), asked)[:, 0]
        logits_BK = finite_scores("inputs.cost", self.cost_model, self.cost_model.score(*said), asked)
        cost_BK = self.constraints.costs(logits_BK)
        kl_B = sequence_sum(self._log_ratio(model, rollout), rollout.response_mask_BT)
        names, answers = self.constraints.names, []
        for b, (row, response) in enumerate(zip(rollout.rows, rollout.responses, strict=True)):
            number, sample = divmod(int(prompts.index_B[b]), self.num_samples)
            known: dict[str, Any] = {
                "ended": ended[b],
                "attack": attack_of(row.meta),
                "reward": float(reward_B[b]),
                "cost_logits": dict(zip(names, logits_BK[b].tolist(), strict=True)),
                "violations": dict(zip(names, cost_BK[b].tolist(), strict=True)),
                "kl": float(kl_B[b]),
                "meta": {key: value for key, value in row.meta.items() if key != PROMPT_ID},
            }
            if rollout.thoughts is not None:
                known["meta"] |= {"thought": rollout.thoughts[b]}
            answers.append(answer_to(row, policy, prompt_id_of(row, number), sample, response, oracle, **known))
        return answers

    def _log_ratio(self, model: PreTrainedModel, rollout: Rollout) -> Tensor:
        """Of the policy to the SFT policy [B, T], both untruncated and computed alike: 0 of a policy to itself."""
        ends = format_of(self.tokenizer).ends(model)
        if not computes_alike(model):
            rollout = recomputed(rollout, self.sampler, model, ends)
        _, reference_BT = sequence_logprobs(self.sampler, self.reference, rollout, ends, truncated=False)
        return kl_k1(rollout.kl_logprobs_BT, reference_BT)


@torch.no_grad()
def judged_by_model(judge: Scorer, answers: Sequence[Answer]) -> list[Answer]:
    """The answers with the logits of a judge that is another cost model.

    Raises:
        UserError: it gives a score that is no number.
    """
    if not answers:
        return []
    asked, said, ended = zip(*((a.messages, a.response, a.ended) for a in answers), strict=True)
    logits = finite_scores("evaluate.judge", judge, judge.score(asked, said, ended), asked).tolist()
    return [
        replace(answer, meta={**answer.meta, JUDGE_LOGITS: dict(zip(judge.outputs, row, strict=True))})
        for answer, row in zip(answers, logits, strict=True)
    ]
