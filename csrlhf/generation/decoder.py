"""Best of N with abstention: draw, judge, choose, or refuse (certificates.md, 3).

``speaker -> judges -> rule``: the policy draws, cost models and a reward model judge, the rule chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csrlhf.data.chat_format import format_of
from csrlhf.data.chat_templates import chat_record
from csrlhf.errors import UserError
from csrlhf.generation.candidates import Candidate, Decoded, answer
from csrlhf.generation.config import REFUSAL
from csrlhf.generation.judges import Judges, model_path
from csrlhf.generation.reading import seen_so_far
from csrlhf.generation.sampler import Sampler, sampling_record
from csrlhf.generation.settings import MOST_SAMPLES, Threshold, check_choice, make_sampler
from csrlhf.generation.speaker import Pieces, Speaker
from csrlhf.models.loading import model_folder, model_hash
from csrlhf.models.settings import ChatSettings
from csrlhf.scorers.costs import CostScorers
from csrlhf.scorers.identity import scorer_hash
from csrlhf.scorers.specs import named
from csrlhf.types import PromptRow


def identity_of(
    specs: Mapping[str, Any],
    rule: str,
    n: int,
    thresholds: Mapping[str, float],
    sampler: Sampler,
    chat: ChatSettings | None = None,
) -> dict[str, Any]:
    """The identity of a decoder, JSON-ready: what an answer's distribution depends on, and a certificate has to name.

    Args:
        specs: what was given as ``policy``, ``reward`` and ``cost``.
        rule: ``best`` or ``first``, which chooses without the reward model.
        n: the most candidates per prompt.
        thresholds: of the cost logits, by constraint.
        sampler: how the policy is sampled.
        chat: how conversations are written, where that is not as the policy's folder has it.

    Raises:
        UserError: a model's files are not here, so that nothing says which version its name stands for.
    """
    cost = {} if specs["cost"] is None else named(specs["cost"])
    return {
        "policy": model_hash(model_folder(str(specs["policy"]))),
        "reward": scorer_hash(specs["reward"]) if rule == "best" else None,
        "cost": sorted({scorer_hash(one) for one in cost.values()}),
        "rule": rule,
        "n": n,
        "threshold": dict(sorted(thresholds.items())),
        "sampling": sampling_record(sampler),
        **chat_record(chat),
    }


Jobs = Sequence[tuple[int, int]]
"""What to draw: the place of a row, and the number of a sample of it."""


@dataclass(frozen=True)
class Drawing:
    """How candidates come about: all N of each prompt at once, or one after the other until one is accepted.

    What is drawn depends on seed, prompt number and sample number alone, so batches, other prompts and N change
    nothing; in float32 a batch's width moves logits by rounding, and a draw on a boundary may fall to its other side.

    Attributes:
        speaker: draws them.
        judges: judge them.
        seed: of the draws.
        batch_size: how many are drawn and judged at once.
    """

    speaker: Speaker
    judges: Judges
    seed: int
    batch_size: int

    def all(self, rows: Sequence[PromptRow], numbers: Sequence[int], n: int) -> list[list[Candidate]]:
        """``n`` candidates of each row.

        Args:
            rows: prompts that have been checked.
            numbers: theirs, which decide the draws.
            n: how many.
        """
        drawn: list[list[Candidate]] = [[] for _ in rows]
        self._add(drawn, rows, numbers, [(place, sample) for place in range(len(rows)) for sample in range(n)])
        return drawn

    def until_accepted(self, rows: Sequence[PromptRow], numbers: Sequence[int], n: int) -> list[list[Candidate]]:
        """Round after round one candidate for each prompt that has none yet that was accepted; at most ``n``."""
        drawn: list[list[Candidate]] = [[] for _ in rows]
        for sample in range(n):
            jobs = [(p, sample) for p, tries in enumerate(drawn) if not any(one.accepted for one in tries)]
            self._add(drawn, rows, numbers, jobs)
        return drawn

    def one(self, row: PromptRow, number: int, watch: Callable[[Tensor], None]) -> Candidate:
        """One candidate alone; ``watch`` is handed its tokens as they are drawn."""
        return self._judged([row], [number], [(0, 0)], watch)[0]

    def _add(
        self, drawn: Sequence[list[Candidate]], rows: Sequence[PromptRow], numbers: Sequence[int], jobs: Jobs
    ) -> None:
        for start in range(0, len(jobs), self.batch_size):
            part = jobs[start : start + self.batch_size]
            for (place, _), candidate in zip(part, self._judged(rows, numbers, part), strict=True):
                drawn[place].append(candidate)

    @torch.no_grad()
    def _judged(
        self,
        rows: Sequence[PromptRow],
        numbers: Sequence[int],
        jobs: Jobs,
        watch: Callable[[Tensor], None] | None = None,
    ) -> list[Candidate]:
        index = [numbers[place] * MOST_SAMPLES + sample for place, sample in jobs]
        rollout = self.speaker.say([rows[place] for place, _ in jobs], index, self.seed, watch)
        return self.judges(rollout, [sample for _, sample in jobs])


class Decoder:
    """A policy with its judges, loaded once.

    Attributes:
        specs: what was given as ``policy``, ``reward`` and ``cost``.
        speaker: the policy.
        judges: the cost models and the reward model.
        drawing: how the two make candidates.

    Example:
        ``Decoder("artifacts/ppo/latest", "artifacts/reward", "artifacts/cost", n=8)(["how do i clean the clock ?"])``.
    """

    def __init__(
        self,
        policy: str | Path,
        reward: Any = None,
        cost: CostScorers | None = None,
        n: int = 8,
        threshold: Threshold = 0.0,
        rule: str = "best",
        refusal: str = REFUSAL,
        seed: int = 0,
        batch_size: int = 64,
        device: str | None = None,
        chat: ChatSettings | None = None,
        **sampling: Any,
    ) -> None:
        """Load the models.

        Args:
            policy: a folder of ``stage=ppo`` or ``stage=sft``, or any causal model of transformers.
            reward: a folder of ``stage=reward``, or any other scorer (scorers/specs.py); ``best`` needs one.
            cost: folders of ``stage=cost``, or any other scorers. None: every answer is accepted.
            n: the most candidates per prompt.
            threshold: the highest cost logit that is accepted, for all constraints or by name.
            rule: ``best`` draws N and takes the accepted one with the highest reward, ``first`` the first accepted one.
            refusal: the answer where all candidates are rejected.
            seed: of the draws.
            batch_size: answers that are drawn and judged at once.
            device: ``cpu``, ``cuda``, ...; None takes a GPU where there is one.
            chat: how conversations are written; None as the policy's folder has it.
            sampling: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``min_new_tokens``, ``greedy``. The
                default is the policy's training, where its folder tells.

        Raises:
            UserError: a value is out of range or a model is missing; the message names it.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be >= 1")
        policy = model_path("policy", policy)
        sampler = make_sampler(policy, sampling)
        check_choice(n, rule, refusal, reward is not None, sampler.greedy)
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.n, self.rule, self.refusal = n, rule, refusal
        self.speaker = Speaker(policy, sampler, place, chat)
        self.judges = Judges(reward, cost, threshold, place)
        self.speaker.check_room()
        self.drawing = Drawing(self.speaker, self.judges, seed, batch_size)
        self.specs = {"policy": policy, "reward": reward, "cost": cost}
        self.chat = chat

    @property
    def thresholds(self) -> dict[str, float]:
        """The highest cost logit that is accepted, by constraint."""
        return self.judges.thresholds

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self.speaker.to(device)
        self.judges.to(device)

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
        draw = self.drawing.all if self.rule == "best" else self.drawing.until_accepted
        drawn = draw(rows, numbers, self.n)
        for place, tries in enumerate(drawn if self.rule == "best" else ()):
            self.judges.check_ranking(place, tries)
        return [answer(row.prompt, tries, self.rule, self.refusal) for row, tries in zip(rows, drawn, strict=True)]

    @property
    def can_stream(self) -> bool:
        """Whether an answer may be shown while it is drawn: there is one candidate, and nothing would reject it."""
        return self.n == 1 and all(limit == math.inf for limit in self.thresholds.values())

    def stream(self, prompt: Any, index: int, show: Callable[[str], None]) -> Decoded:
        """Respond to one prompt, and show each new piece of the response as soon as it is sampled.

        Args:
            prompt: as for a call.
            index: the prompt's number.
            show: takes the pieces.

        Raises:
            UserError: some candidate could be rejected, and showing it would be what the rejection is to prevent.
        """
        if not self.can_stream:
            raise UserError(
                "stream: a response that may be rejected is not shown while it is drawn; set n=1 and threshold=inf, or "
                "leave out the cost model"
            )
        [row] = self.check([prompt])
        tokenizer = self.speaker.tokenizer
        ends = format_of(tokenizer).ends(self.speaker.policy)
        pieces = Pieces(partial(seen_so_far, tokenizer, ends), show)
        said = self.drawing.one(row, index, pieces.take)
        pieces.close()
        return answer(row.prompt, [said], "first", self.refusal)

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
        check_choice(n, self.rule, self.refusal, self.judges.reward is not None, self.speaker.sampler.greedy)
        return [tuple(candidates) for candidates in self.drawing.all(rows, numbers, n)]

    def check(self, prompts: Sequence[Any], places: Sequence[str] | None = None) -> list[PromptRow]:
        """The prompts, each of them well-formed and with room for an answer; see ``Speaker.check``."""
        return self.speaker.check(prompts, places)

    def identity(self) -> dict[str, Any]:
        """What an answer's distribution depends on: what a certificate of this decoder has to name."""
        return identity_of(self.specs, self.rule, self.n, self.thresholds, self.speaker.sampler, self.chat)

    def _checked(self, prompts: Sequence[Any], index: Sequence[int] | None) -> tuple[list[PromptRow], list[int]]:
        rows = self.check(prompts)
        numbers = list(range(len(prompts))) if index is None else [int(number) for number in index]
        if len(numbers) != len(prompts) or min(numbers, default=0) < 0:
            raise UserError(f"index={numbers[:3]}...: give one number >= 0 for each of the {len(prompts)} prompts")
        return rows, numbers


def decode(
    policy: str | Path,
    prompts: Sequence[Any],
    reward: Any = None,
    cost: CostScorers | None = None,
    **options: Any,
) -> list[Decoded]:
    """Answer prompts by best of N with abstention; see :class:`Decoder`, which keeps its models for more calls.

    Args:
        policy: the model that answers.
        prompts: texts or conversations.
        reward: the model that ranks; not needed for ``rule="first"``.
        cost: the model that rejects.
        options: of :class:`Decoder`: ``n``, ``threshold``, ``rule``, ``refusal``, ``seed``, how to sample, ...

    Example:
        ``decode("artifacts/ppo/latest", ["how do i hack the server ?"], "artifacts/reward", "artifacts/cost")[0]``.
    """
    return Decoder(policy, reward, cost, **options)(prompts)
