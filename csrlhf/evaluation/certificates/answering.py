"""The two ways of answering that can be certified, and what a certificate records of them.

One draw per prompt, or best of N with abstention: both give one answer per prompt, with the cost model's logits of what
is really said. What is kept of them becomes a certificate in ``certificate.py``.

Legend: B prompts, K constraints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from csrlhf.constraints.set import Constraints
from csrlhf.data.source import Oracle
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer, answer_to
from csrlhf.evaluation.certificates.statements import DECODED
from csrlhf.evaluation.settings import Decoding
from csrlhf.generation.candidates import Candidate, answer, check_rule, choose, number
from csrlhf.generation.decoder import Decoder
from csrlhf.generation.sampler import Sampler, sampling_record
from csrlhf.generation.settings import check_choice, thresholds_of
from csrlhf.models.cost_models import CostFolders, cost_scorer, finite_scores, named_folders
from csrlhf.models.loading import load_policy, load_tokenizer, model_identity
from csrlhf.models.text_scorer import TextScorer
from csrlhf.types import Prompt, PromptBatch, PromptRow


@dataclass(frozen=True)
class DecodeSpec:
    """The keys of ``certify`` of the same names.

    Attributes:
        decode: ``plain``, one draw per prompt, or ``best_of_n`` with abstention, which the others are about.
        n: candidates per prompt.
        rule: ``best`` or ``first``.
        threshold: the highest cost logit that is accepted, for all constraints or by name.
        refusal: what is said where no candidate is accepted.

    Raises:
        UserError: there is no such way or rule.
    """

    decode: str
    n: int
    rule: str
    threshold: float | Mapping[str, float]
    refusal: str

    def __post_init__(self) -> None:
        if self.decode not in tuple(Decoding):
            raise UserError(f"certify.decode={self.decode}: must be {' or '.join(Decoding)}")
        check_rule(self.rule, "certify.rule")

    def check_reward(self, reward: str | None) -> None:
        """Raises a UserError where answers are chosen by a reward model, and there is none."""
        if self.decode == "best_of_n" and self.rule == "best" and reward is None:
            raise UserError(
                "certify.rule=best: chooses by a reward model, and certify.reward is null; type certify=best_of_n, "
                "which takes the one in the artifacts folder, or set certify.rule=first"
            )

    def check_candidates(self, constraints: Sequence[str], greedy: bool) -> None:
        """Raises a UserError where N, rule, refusal or threshold cannot be; no model has to be loaded for that."""
        if self.decode == "best_of_n":
            try:
                check_choice(self.n, self.rule, self.refusal, has_reward=True, greedy=greedy)
                thresholds_of(self.threshold, constraints)
            except UserError as error:
                raise UserError(f"certify.{error}") from error

    def record(self, sampler: Sampler, seed: int, identity: Mapping[str, Any] | None) -> dict[str, Any]:
        """The decode settings in a certificate, with a hash over those that the answers' distribution depends on.

        Args:
            sampler: how answers are drawn.
            seed: of the draws.
            identity: of the decoder of best-of-N: what ``stage=decode`` compares with its own.
        """
        settings: dict[str, Any] = {"decode": self.decode, "sampling": sampling_record(sampler)}
        settings |= {} if identity is None else {**identity, "refusal": self.refusal}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return {**settings, "seed": seed, "sha256": digest}


CERTIFY_NOISE = -4
"""Iteration number of plain answers' noise: none of training's, validation's, evaluation's or decoding's draws."""


@dataclass(frozen=True)
class Spoken:
    """What was said to a prompt.

    Attributes:
        response: the text.
        ended: False where it was cut off.
        cost_logits: by constraint, of this text; none of a refusal, which is a template and no answer.
        reward: by the reward model; None without one.
        meta: of best-of-N: what was drawn and accepted.
    """

    response: str
    ended: bool
    cost_logits: dict[str, float]
    reward: float | None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerSpec:
    """What either way is made of.

    Attributes:
        policy: the folder of the model that answers.
        cost: one or several cost models.
        constraints: which of their outputs are certified.
        reward: folder of a reward model; None without one.
        sampler: how answers are drawn.
        seed: of the draws.
    """

    policy: str
    cost: CostFolders
    constraints: tuple[str, ...]
    reward: str | None
    sampler: Sampler
    seed: int


class Plain:
    """One draw per prompt."""

    identity = None

    def __init__(self, spec: AnswerSpec) -> None:
        """Load the models."""
        self.spec = spec
        self.policy = load_policy(spec.policy).requires_grad_(False).eval()
        self.tokenizer = load_tokenizer(spec.policy)
        self.cost = cost_scorer(spec.cost, spec.constraints)
        self.reward = None if spec.reward is None else TextScorer(spec.reward, outputs=("reward",))

    def answer(self, prompts: PromptBatch, device: torch.device) -> list[Spoken]:
        """Answer a chunk."""
        for model in (self.policy, self.cost, self.reward):
            if model is not None:
                model.to(device)  # type: ignore[arg-type]  # a union of modules
        rollout = self.spec.sampler(self.policy, self.tokenizer, prompts, self.spec.seed, CERTIFY_NOISE)
        said = [row.prompt for row in rollout.rows], rollout.responses, rollout.ended_B.tolist()
        logits_BK = finite_scores("inputs.cost", self.cost, self.cost.score(*said), said[0])
        logits = [dict(zip(self.spec.constraints, row, strict=True)) for row in logits_BK.tolist()]
        rewards: list[float | None] = [None] * len(logits)
        if self.reward is not None:
            reward_B1 = finite_scores("certify.reward", self.reward, self.reward.score(*said), said[0])
            rewards = reward_B1[:, 0].tolist()
        return [Spoken(*one) for one in zip(rollout.responses, said[2], logits, rewards, strict=True)]


class BestOfN:
    """Best of N with abstention, by the decoder that serves it."""

    def __init__(self, spec: AnswerSpec, decode: DecodeSpec) -> None:
        """Load the models."""
        self.spec = spec
        self.decoder = Decoder(
            spec.policy, spec.reward, spec.cost, decode.n, decode.threshold, decode.rule, decode.refusal, spec.seed,
            device="cpu", **sampling_record(spec.sampler),
        )  # fmt: skip
        outputs = self.decoder.judges.outputs
        missing = [name for name in spec.constraints if name not in outputs]
        if missing:
            raise UserError(
                f"inputs.cost={spec.cost}: scores {', '.join(outputs)} and not {', '.join(missing)}; name one that does"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What the answers' distribution depends on."""
        return self.decoder.identity()

    def answer(self, prompts: PromptBatch, device: torch.device) -> list[Spoken]:
        """Answer a chunk. All N are drawn, so that abstention is known for every smaller N, too."""
        self.decoder.to(device)
        texts = [row.prompt if isinstance(row.prompt, str) else list(row.prompt) for row in prompts.rows]
        drawn = self.decoder.candidates(texts, index=prompts.index_B.tolist())
        return [self._spoken(row.prompt, tries) for row, tries in zip(prompts.rows, drawn, strict=True)]

    def _spoken(self, prompt: Prompt, tries: Sequence[Candidate]) -> Spoken:
        rule = self.decoder.rule
        said, chosen = answer(prompt, tries, rule, self.decoder.refusal), choose(tries, rule)
        meta = {
            "abstained": said.abstained,
            "tried": said.tried,
            "accepted": [candidate.accepted for candidate in tries],
            "costs": [{name: number(value) for name, value in candidate.costs.items()} for candidate in tries],
        }
        costs = {} if chosen is None else {name: chosen.costs[name] for name in self.spec.constraints}
        return Spoken(said.response, chosen is None or chosen.ended, costs, said.reward, {DECODED: meta})


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
    names, costs = constraints.names, {}
    if said.cost_logits:
        logits_BK = torch.tensor([[said.cost_logits[name] for name in names]], dtype=torch.float64)
        costs = dict(zip(names, constraints.costs(logits_BK)[0].tolist(), strict=True))
    known: dict[str, Any] = {
        "ended": said.ended,
        "attack": row.meta.get("attack", row.meta.get("framing")),
        "reward": said.reward,
        "cost_logits": said.cost_logits,
        "violations": costs,
        "meta": row.meta | said.meta,
    }
    return answer_to(row, policy, f"certify-{index}", 0, said.response, oracle, **known)


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


def check_models(about: Mapping[str, Any], outputs: str, inputs: Mapping[str, Any]) -> None:
    """Raises where kept answers are of another policy or cost model.

    Args:
        about: their provenance.
        outputs: their file, for the message.
        inputs: folders of the policy ``ppo`` and of the cost models ``cost``, as they are now.
    """
    now = {"ppo": {model_identity(str(inputs["ppo"]))["sha256"]}}
    now["cost"] = {model_identity(folder)["sha256"] for folder in named_folders(inputs["cost"]).values()}
    then = {"ppo": {about["policy"]["sha256"]}, "cost": {one["sha256"] for one in about["cost"].values()}}
    for key, words in (("ppo", "policy"), ("cost", "cost model")):
        if now[key] != then[key]:
            raise UserError(
                f"inputs.{key}={inputs[key]}: is not the {words} of the responses in {outputs} (other weights or "
                f"settings); point inputs.{key}= to that one"
            )
