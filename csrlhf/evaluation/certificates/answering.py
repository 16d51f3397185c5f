"""The two ways of responding that can be certified, and what a certificate records of them.

One draw per prompt, or best of N with abstention: both give one response per prompt, with the cost logits of what is
really said, by the cost model or by a judge in its place. What is kept of them becomes a certificate in
``certificate.py``.

Legend: B prompts, K constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from csrlhf.constraints.set import Constraints
from csrlhf.data.chat_templates import chat_record
from csrlhf.data.seen import decoding_digest, plain_decoding
from csrlhf.data.source import Oracle
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer, answer_to
from csrlhf.evaluation.certificates.statements import DECODED
from csrlhf.evaluation.settings import Decoding
from csrlhf.generation.candidates import Candidate, answer, check_rule, choose, number
from csrlhf.generation.decoder import Decoder
from csrlhf.generation.sampler import Sampler, sampling_record
from csrlhf.generation.settings import check_choice, thresholds_of
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.settings import ChatSettings
from csrlhf.scorers.costs import CostScorers, cost_scorer, finite_scores, reward_scorer
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

    def check_reward(self, reward: Any) -> None:
        """Raises a UserError where responses are chosen by a reward model, and there is none."""
        if self.decode == "best_of_n" and self.rule == "best" and reward is None:
            raise UserError(
                "certify.rule=best: chooses by a reward model, and certify.reward is null; type certify=best_of_n, "
                "which takes the one in the artifacts folder, or set certify.rule=first"
            )

    def check_candidates(self, constraints: Sequence[str] | None, greedy: bool) -> None:
        """Raises a UserError where N, rule, refusal or threshold cannot be; no model has to be loaded for that.

        Args:
            constraints: that are certified by the cost model that chooses; None where a judge counts.
            greedy: of sampling.
        """
        if self.decode == "best_of_n":
            try:
                check_choice(self.n, self.rule, self.refusal, has_reward=True, greedy=greedy)
                if constraints is not None:
                    thresholds_of(self.threshold, constraints)
            except UserError as error:
                raise UserError(f"certify.{error}") from error

    def record(
        self, sampler: Sampler, seed: int, identity: Mapping[str, Any] | None, chat: ChatSettings | None = None
    ) -> dict[str, Any]:
        """The decode settings in a certificate, with a hash over those that the responses' distribution depends on.

        Args:
            sampler: how responses are drawn.
            seed: of the draws.
            identity: of the decoder of best-of-N: what ``stage=decode`` compares with its own.
            chat: how conversations are written, where that is not as the policy's folder has it.
        """
        drawn = sampling_record(sampler) | chat_record(chat)
        settings: dict[str, Any] = plain_decoding(drawn) | {"decode": str(self.decode)}
        settings |= {} if identity is None else {**identity, "refusal": self.refusal}
        return {**settings, "seed": seed, "sha256": decoding_digest(settings)}


CERTIFY_NOISE = -4
"""Iteration number of plain responses' noise: none of training's, validation's, evaluation's or decoding's draws."""


@dataclass(frozen=True)
class Spoken:
    """What was said to a prompt.

    Attributes:
        response: the text.
        ended: False where it was cut off.
        cost_logits: by constraint, of this text; none of a refusal, which is a template and no model's response.
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
        policy: the folder of the model that responds.
        cost: one or several cost models: they choose in best of N, and count where there is no judge.
        judge: one or several cost models that count; None without one.
        constraints: which of their outputs are certified.
        reward: a reward model; None without one.
        sampler: how responses are drawn.
        seed: of the draws.
        chat: how conversations are written; None as the policy's folder has it.
    """

    policy: str
    cost: CostScorers
    judge: CostScorers | None
    constraints: tuple[str, ...]
    reward: Any
    sampler: Sampler
    seed: int
    chat: ChatSettings | None = None


class Plain:
    """One draw per prompt."""

    identity = None

    def __init__(self, spec: AnswerSpec) -> None:
        """Load the models."""
        self.spec = spec
        self.policy = load_policy(spec.policy).requires_grad_(False).eval()
        self.tokenizer = load_tokenizer(spec.policy, spec.chat)
        self.key = "inputs.cost" if spec.judge is None else "certify.judge"
        self.cost = cost_scorer(spec.cost if spec.judge is None else spec.judge, spec.constraints, self.key)
        self.reward = None if spec.reward is None else reward_scorer(spec.reward, "certify.reward")

    def keep_in(self, folder: Path) -> None:
        """Let scorers keep what they are given from far (``scorers/kept.py``)."""
        for scorer in (self.cost, self.reward):
            if scorer is not None:
                scorer.keep_in(folder)

    def answer(self, prompts: PromptBatch, device: torch.device) -> list[Spoken]:
        """Answer a chunk."""
        for model in (self.policy, self.cost, self.reward):
            if model is not None:
                model.to(device)  # type: ignore[arg-type]  # a union of modules
        rollout = self.spec.sampler(self.policy, self.tokenizer, prompts, self.spec.seed, CERTIFY_NOISE)
        said = [row.prompt for row in rollout.rows], rollout.responses, rollout.ended_B.tolist()
        logits_BK = finite_scores(self.key, self.cost, self.cost.score(*said), said[0])
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
            device="cpu", chat=spec.chat, **sampling_record(spec.sampler),
        )  # fmt: skip
        self.judge = None if spec.judge is None else cost_scorer(spec.judge, spec.constraints, "certify.judge")
        outputs = spec.constraints if self.judge is not None else self.decoder.judges.outputs
        missing = [name for name in spec.constraints if name not in outputs]
        if missing:
            raise UserError(
                f"inputs.cost={spec.cost}: scores {', '.join(outputs)} and not {', '.join(missing)}; name one that does"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What the responses' distribution depends on."""
        return self.decoder.identity()

    def keep_in(self, folder: Path) -> None:
        """Let scorers keep what they are given from far (``scorers/kept.py``)."""
        self.decoder.judges.keep_in(folder)
        if self.judge is not None:
            self.judge.keep_in(folder)

    def answer(self, prompts: PromptBatch, device: torch.device) -> list[Spoken]:
        """Answer a chunk. All N are drawn, so that abstention is known for every smaller N, too."""
        self.decoder.to(device)
        texts = [row.prompt if isinstance(row.prompt, str) else list(row.prompt) for row in prompts.rows]
        drawn = self.decoder.candidates(texts, index=prompts.index_B.tolist())
        spoken = [self._spoken(row.prompt, tries) for row, tries in zip(prompts.rows, drawn, strict=True)]
        return spoken if self.judge is None else self._judged(prompts, spoken, device)

    @torch.no_grad()
    def _judged(self, prompts: PromptBatch, spoken: Sequence[Spoken], device: torch.device) -> list[Spoken]:
        """With the judge's logits of what is said; a refusal has none."""
        assert self.judge is not None
        self.judge.to(device)  # type: ignore[arg-type]  # a union of modules
        rows = [n for n, one in enumerate(spoken) if not one.meta[DECODED]["abstained"]]
        found = list(spoken)
        if rows:
            asked = [prompts.rows[n].prompt for n in rows]
            said = asked, [spoken[n].response for n in rows], [spoken[n].ended for n in rows]
            logits_BK = finite_scores("certify.judge", self.judge, self.judge.score(*said), asked)
            for n, logits in zip(rows, logits_BK.tolist(), strict=True):
                found[n] = replace(spoken[n], cost_logits=dict(zip(self.spec.constraints, logits, strict=True)))
        return found

    def _spoken(self, prompt: Prompt, tries: Sequence[Candidate]) -> Spoken:
        rule = self.decoder.rule
        said, chosen = answer(prompt, tries, rule, self.decoder.refusal), choose(tries, rule)
        meta = {
            "abstained": said.abstained,
            "tried": said.tried,
            "accepted": [candidate.accepted for candidate in tries],
            "costs": [{name: number(value) for name, value in candidate.costs.items()} for candidate in tries],
        }
        counts = self.spec.constraints if self.judge is None else ()
        costs = {} if chosen is None else {name: chosen.costs[name] for name in counts}
        return Spoken(said.response, chosen is None or chosen.ended, costs, said.reward, {DECODED: meta})


def kept_answer(
    policy: str, index: int, row: PromptRow, said: Spoken, constraints: Constraints, oracle: Oracle | None
) -> Answer:
    """One response with all that is known of it.

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
