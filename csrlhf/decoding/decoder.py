"""Best of N with abstention: draw, judge, choose, or refuse (certificates.md, 3).

``sampler -> cost models -> reward model -> rule``. The reward model sees accepted candidates only. What is drawn
depends on seed, prompt number and sample number alone, so batches, other prompts and N change nothing; in float32 a
batch's width moves logits by rounding, and a draw that lies on a boundary may fall to its other side.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csrlhf.data.encoding import encode_prompt
from csrlhf.data.prompts import encode_batch
from csrlhf.data.tables.record import Record
from csrlhf.decoding.candidates import Candidate, Decoded, accepts, answer
from csrlhf.decoding.scorers import cut_short, load_costs, load_reward, model_path
from csrlhf.decoding.settings import (
    MOST_SAMPLES,
    REFUSAL,
    Threshold,
    check_choice,
    make_sampler,
    sampling_record,
    thresholds_of,
)
from csrlhf.decoding.streaming import Pieces
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.model_hash import model_folder, model_hash
from csrlhf.models.checks import check_end_token, check_policy, check_vocabulary
from csrlhf.models.cost_models import CostFolders
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.score_spec import max_positions
from csrlhf.types import Prompt, PromptRow

DECODE_NOISE = -3
"""Iteration number of decoding's noise: none of training's, validation's or evaluation's draws."""

NO_LIMIT = 10**9
"""Tokens that a prompt may have where the policy knows no limit."""


class Decoder:
    """A policy with its judges, loaded once.

    Attributes:
        specs: what was given as ``policy``, ``reward`` and ``cost``.
        thresholds: the highest cost logit that is accepted, by constraint.

    Example:
        ``Decoder("artifacts/ppo/latest", "artifacts/reward", "artifacts/cost", n=8)(["how do i bake bread ?"])``.
    """

    def __init__(
        self,
        policy: str | Path,
        reward: str | Path | None = None,
        cost: CostFolders | None = None,
        n: int = 8,
        threshold: Threshold = 0.0,
        rule: str = "best",
        refusal: str = REFUSAL,
        seed: int = 0,
        batch_size: int = 64,
        device: str | None = None,
        **sampling: Any,
    ) -> None:
        """Load the models.

        Args:
            policy: a folder of ``stage=ppo`` or ``stage=sft``, or any causal model of transformers.
            reward: a folder of ``stage=reward``, or a classifier of transformers with one label; ``best`` needs one.
            cost: folders of ``stage=cost`` or classifiers, see ``load_costs``. None judges nobody: every answer passes.
            n: the most candidates per prompt.
            threshold: the highest cost logit that is accepted, for all constraints or by name.
            rule: ``best`` draws N and takes the accepted one with the highest reward, ``first`` the first accepted one.
            refusal: the answer where all candidates are rejected.
            seed: of the draws.
            batch_size: answers that are drawn and judged at once.
            device: ``cpu``, ``cuda``, ...; None takes a GPU where there is one.
            sampling: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``min_new_tokens``, ``greedy``. The
                default is the policy's training, where its folder tells.

        Raises:
            UserError: a value is out of range or a model is missing; the message names it.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be >= 1")
        policy = model_path("policy", policy)
        self.sampler = make_sampler(policy, sampling)
        check_choice(n, rule, refusal, reward is not None, self.sampler.greedy)
        self.n, self.rule, self.refusal, self.seed, self.batch_size = n, rule, refusal, seed, batch_size
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokenizer = load_tokenizer(policy)
        check_end_token(self.tokenizer, f"policy={policy}")
        self.policy = load_policy(policy).requires_grad_(False).eval()
        check_vocabulary(self.policy, self.tokenizer, f"policy={policy}")
        check_policy(self.policy, f"policy={policy}")
        self.reward = None if reward is None else load_reward(reward)
        self.cost = None if cost is None else load_costs(cost)
        self.thresholds = thresholds_of(threshold, () if self.cost is None else self.cost.outputs)
        for model in (self.policy, self.reward, self.cost):
            if model is not None:
                model.to(self.device)  # type: ignore[arg-type]  # a union of modules
        limit = max_positions(self.policy)
        self.max_prompt_tokens = NO_LIMIT if limit is None else limit - self.sampler.max_new_tokens
        if self.max_prompt_tokens < 1:
            raise UserError(
                f"max_new_tokens={self.sampler.max_new_tokens}: the policy has {limit} positions "
                "(max_position_embeddings); leave room for the prompt"
            )
        self.specs = {"policy": policy, "reward": reward, "cost": cost}
        self._warned: set[str] = set()

    def __call__(self, prompts: Sequence[Any], index: Sequence[int] | None = None) -> list[Decoded]:
        """Answer prompts.

        Args:
            prompts: texts, or conversations: lists of ``{"role": ..., "content": ...}`` that end with the user's turn.
            index: their numbers, which decide the draws; None counts from 0. A prompt keeps its answer in another
                batch if it keeps its number.

        Raises:
            UserError: a prompt is malformed or leaves no room for an answer (nothing is drawn then), or the reward
                model gives no number for any accepted candidate of a prompt.
        """
        rows, numbers = self._checked(prompts, index)
        drawn = self._all(rows, numbers, self.n) if self.rule == "best" else self._until_accepted(rows, numbers)
        for place, tries in enumerate(drawn):
            self._check_rewards(place, tries)
        return [answer(row.prompt, tries, self.rule, self.refusal) for row, tries in zip(rows, drawn, strict=True)]

    @property
    def can_stream(self) -> bool:
        """Whether an answer may be shown while it is drawn: there is one candidate, and nothing would reject it."""
        return self.n == 1 and all(limit == math.inf for limit in self.thresholds.values())

    def stream(self, prompt: Any, index: int, show: Callable[[str], None]) -> Decoded:
        """Answer one prompt, and hand over each new piece of the answer as soon as it is drawn.

        Args:
            prompt: as for a call.
            index: the prompt's number.
            show: takes the pieces.

        Raises:
            UserError: some candidate could be rejected, and showing it would be what the rejection is to prevent.
        """
        if not self.can_stream:
            raise UserError(
                "stream: an answer that may be rejected is not shown while it is drawn; set n=1 and threshold=inf, or "
                "leave out the cost model"
            )
        pieces = Pieces(self.tokenizer, show)
        tries = self._judged(self.check([prompt]), [index], [(0, 0)], pieces.take)
        pieces.close()
        return answer(self.check([prompt])[0].prompt, tries, "first", self.refusal)

    def candidates(
        self, prompts: Sequence[Any], n: int | None = None, index: Sequence[int] | None = None
    ) -> list[tuple[Candidate, ...]]:
        """All N candidates of each prompt, accepted or not, whatever the rule: what a certificate is computed from.

        ``choose(candidates[:N], rule)`` is what is shown with that N, so one draw of N_max serves every smaller N.

        Args:
            prompts: as for a call.
            n: how many to draw of each; None takes the decoder's.
            index: as for a call.
        """
        rows, numbers = self._checked(prompts, index)
        n = self.n if n is None else n
        check_choice(n, self.rule, self.refusal, self.reward is not None, self.sampler.greedy)
        return [tuple(candidates) for candidates in self._all(rows, numbers, n)]

    def check(self, prompts: Sequence[Any], places: Sequence[str] | None = None) -> list[PromptRow]:
        """The prompts, each of them well-formed and with room for an answer.

        Args:
            prompts: as for a call.
            places: what to call them in messages, such as ``file:line``; None for ``prompts[0]`` and so on.
        """
        if isinstance(prompts, str):
            raise UserError(f"prompts={prompts[:40]!r}: give a list of prompts, [{prompts[:40]!r}]")
        rows = []
        for number, prompt in enumerate(prompts):
            place = f"prompts[{number}]" if places is None else places[number]
            value = list(prompt) if isinstance(prompt, tuple) else prompt
            row = PromptRow(Record(place, {"prompt": value}).prompt())
            try:
                encode_prompt(self.tokenizer, row.prompt, self.max_prompt_tokens)
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
            rows.append(row)
        return rows

    def identity(self) -> dict[str, Any]:
        """What an answer's distribution depends on: what a certificate of this decoder has to name."""
        cost = self.specs["cost"]
        folders = {None: cost} if isinstance(cost, str | Path) else cost
        if not isinstance(folders, Mapping):
            folders = dict(enumerate(folders or ()))
        return {
            "policy": model_hash(model_folder(str(self.specs["policy"]))),
            # "first" chooses without it.
            "reward": model_hash(model_folder(str(self.specs["reward"]))) if self.rule == "best" else None,
            "cost": sorted({model_hash(model_folder(str(folder))) for folder in folders.values()}),
            "rule": self.rule,
            "n": self.n,
            "threshold": dict(sorted(self.thresholds.items())),
            "sampling": sampling_record(self.sampler),
        }

    def _checked(self, prompts: Sequence[Any], index: Sequence[int] | None) -> tuple[list[PromptRow], list[int]]:
        rows = self.check(prompts)
        numbers = list(range(len(prompts))) if index is None else [int(number) for number in index]
        if len(numbers) != len(prompts) or min(numbers, default=0) < 0:
            raise UserError(f"index={numbers[:3]}...: give one number >= 0 for each of the {len(prompts)} prompts")
        return rows, numbers

    def _all(self, rows: Sequence[PromptRow], numbers: Sequence[int], n: int) -> list[list[Candidate]]:
        jobs = [(place, sample) for place in range(len(rows)) for sample in range(n)]
        drawn: list[list[Candidate]] = [[] for _ in rows]
        for place, candidate in self._draw(rows, numbers, jobs):
            drawn[place].append(candidate)
        return drawn

    def _until_accepted(self, rows: Sequence[PromptRow], numbers: Sequence[int]) -> list[list[Candidate]]:
        """Round after round one candidate for each prompt that has none yet that was accepted."""
        drawn: list[list[Candidate]] = [[] for _ in rows]
        for sample in range(self.n):
            jobs = [(p, sample) for p, tries in enumerate(drawn) if not any(one.accepted for one in tries)]
            for place, candidate in self._draw(rows, numbers, jobs):
                drawn[place].append(candidate)
        return drawn

    def _draw(
        self, rows: Sequence[PromptRow], numbers: Sequence[int], jobs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, Candidate]]:
        """Draw and judge each (row, sample), some at a time."""
        for start in range(0, len(jobs), self.batch_size):
            part = jobs[start : start + self.batch_size]
            yield from zip((place for place, _ in part), self._judged(rows, numbers, part), strict=True)

    @torch.no_grad()
    def _judged(
        self,
        rows: Sequence[PromptRow],
        numbers: Sequence[int],
        jobs: Sequence[tuple[int, int]],
        watch: Callable[[Tensor], None] | None = None,
    ) -> list[Candidate]:
        asked = [rows[place] for place, _ in jobs]
        index = [numbers[place] * MOST_SAMPLES + sample for place, sample in jobs]
        batch = encode_batch(self.tokenizer, asked, index, self.max_prompt_tokens).to(self.device)
        rollout = self.sampler(self.policy, self.tokenizer, batch, self.seed, DECODE_NOISE, watch)
        prompts, ended = [row.prompt for row in asked], rollout.ended_B.tolist()
        costs = self._costs(prompts, rollout.responses, ended)
        accepted = [accepts(said, cost, self.thresholds) for said, cost in zip(rollout.responses, costs, strict=True)]
        rewards = self._rewards(prompts, rollout.responses, ended, [b for b, yes in enumerate(accepted) if yes])
        return [
            Candidate(sample, rollout.responses[b], ended[b], costs[b], rewards.get(b), accepted[b])
            for b, (_, sample) in enumerate(jobs)
        ]

    def _costs(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]
    ) -> list[dict[str, float]]:
        if self.cost is None:
            return [{} for _ in prompts]
        if any(cut_short(self.cost, *one) for one in zip(prompts, responses, ended, strict=True)):
            self._warn(
                f"cost={self.specs['cost']}: judged the beginning of some answers alone, as the dialogues are longer "
                "than it reads; lower max_new_tokens, or take a cost model that was trained on longer ones"
            )
        rows = self.cost.score(prompts, responses, ended).tolist()
        if any(math.isnan(value) for row in rows for value in row):
            self._warn(f"cost={self.specs['cost']}: gives NaN for some answers; they count as rejected")
        return [dict(zip(self.cost.outputs, row, strict=True)) for row in rows]

    def _rewards(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool], rows: Sequence[int]
    ) -> dict[int, float]:
        """Of these rows, by row. A NaN ranks last."""
        if self.reward is None or not rows:
            return {}
        scores = self.reward.score([prompts[b] for b in rows], [responses[b] for b in rows], [ended[b] for b in rows])
        values = dict(zip(rows, scores[:, 0].tolist(), strict=True))
        if any(math.isnan(value) for value in values.values()):
            self._warn(f"reward={self.specs['reward']}: gives NaN for some answers; they rank behind all others")
        return values

    def _check_rewards(self, place: int, tries: Sequence[Candidate]) -> None:
        """Raises where a choice by reward would be none."""
        rewards = [one.reward for one in tries if one.accepted]
        if self.rule == "best" and rewards and all(math.isnan(value or 0.0) for value in rewards):
            raise UserError(
                f"reward={self.specs['reward']}: gives NaN for every accepted answer to prompts[{place}]; the model "
                "is broken: make it again, or set rule=first"
            )

    def _warn(self, message: str) -> None:
        """Once per decoder: a broken model is broken in every batch."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, InputWarning, stacklevel=2)


def decode(
    policy: str | Path,
    prompts: Sequence[Any],
    reward: str | Path | None = None,
    cost: CostFolders | None = None,
    n: int = 8,
    threshold: Threshold = 0.0,
    rule: str = "best",
    refusal: str = REFUSAL,
    seed: int = 0,
    **options: Any,
) -> list[Decoded]:
    """Answer prompts by best of N with abstention; see :class:`Decoder`, which keeps its models for more calls.

    Args:
        policy: the model that answers.
        prompts: texts or conversations.
        reward: the model that ranks; not needed for ``rule="first"``.
        cost: the model that rejects.
        n: the most candidates per prompt.
        threshold: the highest cost logit that is accepted.
        rule: ``best`` or ``first``.
        refusal: the answer where every candidate is rejected.
        seed: of the draws.
        options: how to sample (``temperature``, ``max_new_tokens``, ...), ``batch_size``, ``device``.

    Example:
        ``decode("artifacts/ppo/latest", ["how do i bake bread ?"], "artifacts/reward", "artifacts/cost")[0].response``.
    """
    return Decoder(policy, reward, cost, n, threshold, rule, refusal, seed, **options)(prompts)
