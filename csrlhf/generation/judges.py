"""The models that judge what was drawn: cost models say what may be shown, a reward model which of it is best.

Scorers of any origin (``scorers/specs.py``). The reward model sees accepted candidates only.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import InputWarning, UserError
from csrlhf.generation.candidates import Candidate, accepts
from csrlhf.generation.settings import Threshold, thresholds_of
from csrlhf.scorers.base import Scorer
from csrlhf.scorers.costs import CostScorers, cost_scorer, reward_scorer
from csrlhf.scorers.specs import as_spec, is_description, label, named
from csrlhf.types import Prompt, Rollout


def model_path(key: str, spec: str | Path) -> str:
    """A model's folder or name.

    Raises:
        UserError: ``artifacts/ppo`` and its like are no names on a hub when there is a folder ``artifacts``.
    """
    path = Path(str(spec)).expanduser()
    if not path.is_dir() and (path.exists() or (path.parent != Path() and path.parent.is_dir())):
        raise UserError(f"{key}={spec}: there is no model folder of this name; make it with its stage, or name another")
    return str(spec)


def _here(key: str, given: Any) -> Any:
    """The scorers, where folders that they name are folders."""
    spec = as_spec(given)
    for one in named(spec).values():
        if not is_description(one):
            model_path(key, str(one))
    return spec


class Judges:
    """The judges of a decoder. A problem with one of them is reported once: it recurs in every batch.

    Args:
        reward: a scorer; None ranks nothing.
        cost: one scorer or several; None rejects nothing but empty answers.
        threshold: the highest cost logit that is accepted, for all constraints or by name.
        device: where they compute.

    Attributes:
        thresholds: by constraint.

    Raises:
        UserError: a model is missing or the wrong one, or a threshold does not fit the constraints.
    """

    def __init__(self, reward: Any, cost: CostScorers | None, threshold: Threshold, device: torch.device) -> None:
        self.reward: Scorer | None = None if reward is None else reward_scorer(_here("reward", reward), "reward")
        self.cost: Scorer | None = None if cost is None else cost_scorer(_here("cost", cost), None, "cost")
        self.thresholds = thresholds_of(threshold, self.outputs)
        self._names = {
            key: f"{key}={', '.join(label(one) for one in named(given).values())}"
            for key, given in (("reward", reward), ("cost", cost))
            if given is not None
        }
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

    def keep_in(self, folder: Path) -> None:
        """Let scorers keep what they are given from far (``scorers/kept.py``)."""
        for model in (self.reward, self.cost):
            if model is not None:
                model.keep_in(folder)

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
        if any(self.cost.cut_short(*one) for one in zip(prompts, responses, ended, strict=True)):
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
