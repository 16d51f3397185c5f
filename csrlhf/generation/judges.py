"""The models that judge what was drawn: cost models say what may be shown, a reward model which of it is best.

Score models of this project (``stage=reward``, ``stage=cost``), or any sequence classifier of transformers
(``models/classifier.py``). The reward model sees accepted candidates only.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from csrlhf.data.encoding import encode_dialogue, encode_response, is_encoder_tokenizer, prompt_text
from csrlhf.errors import InputWarning, UserError
from csrlhf.generation.candidates import Candidate, accepts
from csrlhf.generation.settings import Threshold, thresholds_of
from csrlhf.models.classifier import ClassifierScorer
from csrlhf.models.cost_models import CostFolders, CostModels
from csrlhf.models.loading import resolve_path
from csrlhf.models.score_model import HEAD_CONFIG
from csrlhf.models.text_scorer import TextScorer
from csrlhf.types import Prompt, Rollout

REWARD = "reward"
"""The output's name in a folder of ``stage=reward``."""

NO_LIMIT = 10**9
"""More tokens than any dialogue has."""

Scorer = TextScorer | ClassifierScorer


def model_path(key: str, spec: str | Path) -> str:
    """A model's folder or name.

    Raises:
        UserError: ``artifacts/ppo`` and its like are no names on a hub when there is a folder ``artifacts``.
    """
    path = Path(str(spec)).expanduser()
    if not path.is_dir() and (path.exists() or (path.parent != Path() and path.parent.is_dir())):
        raise UserError(f"{key}={spec}: there is no model folder of this name; make it with its stage, or name another")
    return str(spec)


def load_reward(spec: str | Path) -> Scorer:
    """A model with one output, which is the reward.

    Raises:
        UserError: there is none, or it has other outputs (a cost model would be maximised without any complaint).
    """
    spec = model_path("reward", spec)
    if _is_ours(spec):
        return TextScorer(spec, outputs=(REWARD,))
    return ClassifierScorer(spec, outputs=(REWARD,))


def load_costs(spec: CostFolders) -> Scorer | CostModels:
    """Cost models; all of their outputs are constraints.

    Args:
        spec: a folder or name; several, with different outputs; or a mapping from constraints to where they are scored.

    Raises:
        UserError: one is missing, is a reward model, or two have an output of the same name.
    """
    if isinstance(spec, str | Path):
        return _costs(spec, None)
    scorers: list[Scorer] = []
    if isinstance(spec, Mapping):
        names: dict[str, list[str]] = {}
        for name, folder in spec.items():
            names.setdefault(str(folder), []).append(str(name))
        scorers = [_costs(folder, outputs) for folder, outputs in names.items()]
    else:
        scorers = [_costs(folder, None) for folder in spec]
    if not scorers:
        raise UserError("cost: names no cost model; name one, or give none at all: cost=None")
    outputs = [name for scorer in scorers for name in scorer.outputs]
    twice = sorted({name for name in outputs if outputs.count(name) > 1})
    if twice:
        raise UserError(
            f"cost: several of {', '.join(str(scorer.folder) for scorer in scorers)} score {', '.join(twice)}; say "
            "which is meant, as a mapping from constraints to folders"
        )
    if isinstance(spec, Mapping):
        outputs = [str(name) for name in spec]
    return scorers[0] if len(scorers) == 1 else CostModels(scorers, outputs)  # type: ignore[arg-type]  # they score alike


def cut_short(scorer: Scorer | CostModels, prompt: Prompt, response: str, ended: bool) -> bool:
    """Whether a scorer reads the response without its end, because the dialogue is longer than it takes."""
    if isinstance(scorer, CostModels):
        return any(cut_short(one, prompt, response, ended) for one in scorer.scorers)  # type: ignore[arg-type]
    room = scorer.max_tokens - (3 if is_encoder_tokenizer(scorer.tokenizer) else 0)
    if len(encode_response(scorer.tokenizer, response, ended)) <= room - room // 2:  # the prompt gives way to it
        return False
    return len(encode_dialogue(scorer.tokenizer, prompt, response, NO_LIMIT, ended)) > scorer.max_tokens


def _costs(spec: str | Path, outputs: Sequence[str] | None) -> Scorer:
    spec = model_path("cost", spec)
    scorer = TextScorer(spec, outputs=outputs) if _is_ours(spec) else ClassifierScorer(spec, outputs)
    if outputs is None and scorer.outputs == (REWARD,):
        raise UserError(f"cost={spec}: is a reward model: a high score would be taken for harm; name a cost model")
    return scorer


def _is_ours(spec: str) -> bool:
    """Whether a folder holds a score model of ours: with its head in a file of its own."""
    return (Path(resolve_path(spec)) / HEAD_CONFIG).is_file()


class Judges:
    """The judges of a decoder. A problem with one of them is reported once: it recurs in every batch.

    Args:
        reward: see ``load_reward``; None ranks nothing.
        cost: see ``load_costs``; None rejects nothing but empty answers.
        threshold: the highest cost logit that is accepted, for all constraints or by name.
        device: where they compute.

    Attributes:
        thresholds: by constraint.

    Raises:
        UserError: a model is missing or the wrong one, or a threshold does not fit the constraints.
    """

    def __init__(
        self, reward: str | Path | None, cost: CostFolders | None, threshold: Threshold, device: torch.device
    ) -> None:
        self.reward = None if reward is None else load_reward(reward)
        self.cost = None if cost is None else load_costs(cost)
        self.thresholds = thresholds_of(threshold, self.outputs)
        self._names = {"reward": f"reward={reward}", "cost": f"cost={cost}"}
        self._warned: set[str] = set()
        self.to(device)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The constraints that are scored."""
        return () if self.cost is None else tuple(self.cost.outputs)

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        for model in (self.reward, self.cost):
            if model is not None:
                model.to(device)

    def __call__(self, rollout: Rollout, samples: Sequence[int]) -> list[Candidate]:
        """What was drawn as judged candidates.

        Args:
            rollout: responses to any prompts.
            samples: the number of each among the answers to its prompt.
        """
        prompts, said, ended = [row.prompt for row in rollout.rows], rollout.responses, rollout.ended_B.tolist()
        thoughts = rollout.thoughts or (None,) * len(said)
        costs = self._costs(prompts, said, ended)
        accepted = [accepts(one, cost, self.thresholds) for one, cost in zip(said, costs, strict=True)]
        rewards = self._rewards(prompts, said, ended, [b for b, yes in enumerate(accepted) if yes])
        return [
            Candidate(sample, said[b], ended[b], costs[b], rewards.get(b), accepted[b], thoughts[b])
            for b, sample in enumerate(samples)
        ]

    def check_ranking(self, place: int, tries: Sequence[Candidate]) -> None:
        """Raises a UserError where a choice by reward would be none, naming the prompt by its place."""
        rewards = [one.reward for one in tries if one.accepted]
        if rewards and all(math.isnan(value or 0.0) for value in rewards):
            raise UserError(
                f"{self._names['reward']}: gives NaN for every accepted response to prompts[{place}]; the model "
                "is broken: make it again, or set rule=first"
            )

    def _costs(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]
    ) -> list[dict[str, float]]:
        if self.cost is None:
            return [{} for _ in prompts]
        if any(cut_short(self.cost, *one) for one in zip(prompts, responses, ended, strict=True)):
            self._warn(
                "cut",
                f"{self._names['cost']}: judged the beginning of some responses alone, as the dialogues are longer "
                "than it reads; lower max_new_tokens, or take a cost model that was trained on longer ones",
            )
        rows = self.cost.score(prompts, responses, ended).tolist()
        broken = [b for b, row in enumerate(rows) if any(map(math.isnan, row))]
        if broken:
            problem = f"gives NaN for a response to the prompt {prompt_text(prompts[broken[0]])[:40]!r}"
            self._warn("cost", f"{self._names['cost']}: {problem}; such responses count as rejected")
        return [dict(zip(self.cost.outputs, row, strict=True)) for row in rows]

    def _rewards(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool], rows: Sequence[int]
    ) -> dict[int, float]:
        """Of these rows, by row. A NaN ranks last."""
        if self.reward is None or not rows:
            return {}
        scores = self.reward.score([prompts[b] for b in rows], [responses[b] for b in rows], [ended[b] for b in rows])
        values = dict(zip(rows, scores[:, 0].tolist(), strict=True))
        broken = [b for b, value in values.items() if math.isnan(value)]
        if broken:
            problem = f"gives NaN for a response to the prompt {prompt_text(prompts[broken[0]])[:40]!r}"
            self._warn("reward", f"{self._names['reward']}: {problem}; such responses rank behind all others")
        return values

    def _warn(self, kind: str, message: str) -> None:
        """Once of each kind, whichever prompt the message names."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, InputWarning, stacklevel=2)
