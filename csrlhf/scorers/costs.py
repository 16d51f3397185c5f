"""The scorers of a run: one for the reward, and one or several that share the constraints out among them.

Legend: B dialogues, K constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.scorers.base import COST, REWARD, Scorer
from csrlhf.scorers.build import build
from csrlhf.scorers.probe import probe
from csrlhf.scorers.specs import as_spec, is_single, label
from csrlhf.types import Prompt

CostScorers = Any
"""One scorer; scorers by the constraint that they score; or a list of scorers that cover the constraints (specs.py)."""


class Columns(Scorer):
    """Several scorers behind one."""

    def __init__(self, scorers: Sequence[Scorer], outputs: Sequence[str]) -> None:
        """Keep the scorers.

        Args:
            scorers: each output is in exactly one of them.
            outputs: names of the columns, in the order to give them.
        """
        super().__init__()
        self.scorers: Any = nn.ModuleList(scorers)
        self.outputs = tuple(outputs)
        self.name = ", ".join(scorer.name for scorer in scorers)
        found = [name for scorer in scorers for name in scorer.outputs]
        self._columns = [found.index(name) for name in self.outputs]

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Costs [B, K], each on the scale of its scorer."""
        parts = [scorer.score(prompts, responses, ended) for scorer in self.scorers]
        device = next((part.device for part in parts if part.device.type != "cpu"), parts[0].device)
        return torch.cat([part.to(device) for part in parts], dim=-1)[:, self._columns]

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether one of them does."""
        return any(scorer.cut_short(prompt, response, ended) for scorer in self.scorers)

    def keep_in(self, folder: Path) -> None:
        """Tells all of them."""
        for scorer in self.scorers:
            scorer.keep_in(folder)


def parts_of(scorer: Scorer) -> list[Scorer]:
    """The scorers that share the constraints out."""
    return list(scorer.scorers) if isinstance(scorer, Columns) else [scorer]


def reward_scorer(given: Any, key: str = "inputs.reward") -> Scorer:
    """The scorer that gives the reward, loaded and probed.

    Raises:
        UserError: there is none, or it scores something else (a cost model would be maximised without any complaint).
    """
    scorer = build(key, given, REWARD, (REWARD,))
    probe(key, scorer, REWARD)
    return scorer


def cost_scorer(given: CostScorers, constraints: Sequence[str] | None, key: str = "inputs.cost") -> Scorer:
    """The scorers of the costs, loaded and probed.

    Args:
        given: one, or several; what a mapping names twice is loaded once.
        constraints: their names, in the order of the columns; None for all that the scorers give.
        key: where they are named, for messages.

    Raises:
        UserError: a constraint has no output or several; the message names scorers and constraints.
    """
    spec = as_spec(given)
    if is_single(spec):
        scorer = build(key, spec, COST, constraints)
    elif isinstance(spec, Mapping):
        scorer = _by_name(spec, list(spec) if constraints is None else constraints, key)
    else:
        scorer = _by_outputs(spec, constraints, key)
    probe(key, scorer, COST)
    return scorer


def temperatures(scorers: Sequence[Scorer]) -> dict[str, float]:
    """What each output's logits are divided by, by its name."""
    return {
        name: float(value)
        for scorer in scorers
        for name, value in zip(scorer.outputs, scorer.temperature_K.tolist(), strict=True)
    }


def _by_name(specs: Mapping[str, Any], constraints: Sequence[str], key: str) -> Scorer:
    unknown, missing = set(specs) - set(constraints), set(constraints) - set(specs)
    if unknown or missing:
        given = {name: label(spec) for name, spec in specs.items()}
        raise UserError(
            f"{key}={given}: names {', '.join(sorted(specs)) or 'nothing'}, the constraints are "
            f"{', '.join(constraints)}; name one scorer for each of them"
        )
    if not specs:
        raise UserError(f"{key}: names no cost model; name one for each constraint")
    groups: list[tuple[Any, list[str]]] = []
    for name in constraints:
        same = next((names for spec, names in groups if spec == specs[name]), None)
        if same is None:
            groups.append((specs[name], [name]))
        else:
            same.append(name)
    scorers = [build(f"{key}.{names[0]}", spec, COST, names) for spec, names in groups]
    return scorers[0] if len(scorers) == 1 and constraints == list(specs) else Columns(scorers, constraints)


def _by_outputs(specs: Sequence[Any], constraints: Sequence[str] | None, key: str) -> Scorer:
    if not specs:
        raise UserError(f"{key}: names no cost model; name one")
    scorers = {label(spec): build(f"{key}.{number}", spec, COST) for number, spec in enumerate(specs)}
    listed = "; ".join(f"{name} scores {', '.join(scorer.outputs)}" for name, scorer in scorers.items())
    wanted = constraints or list(dict.fromkeys(name for scorer in scorers.values() for name in scorer.outputs))
    holders = {name: [n for n, scorer in scorers.items() if name in scorer.outputs] for name in wanted}
    for name, holding in holders.items():
        if not holding:
            raise UserError(f"{key}: none of the cost models scores {name} ({listed}); add one that does")
        if len(holding) > 1:
            raise UserError(
                f"{key}: {' and '.join(holding)} both score {name}; say which is meant, "
                f"{key}={{{name}: {holding[0]}, ...}}"
            )
    for name, scorer in scorers.items():
        chosen = tuple(one for one in wanted if one in scorer.outputs)
        if not chosen:
            raise UserError(f"{key}: {name} scores none of {', '.join(wanted)} ({listed}); leave it out")
        scorer.choose(chosen)
    return Columns(list(scorers.values()), wanted)


# Scores that are no numbers stop an evaluation: NaN is above no threshold, and would pass for safe.


def finite_scores(key: str, scorer: Scorer, scores_BK: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    """The scores, if all of them are finite.

    Args:
        key: what named the model, for the message.
        scorer: that gave them.
        scores_BK: one column for each of its outputs.
        prompts: what was answered.

    Raises:
        UserError: names the model, its output, and the first prompt whose answer has such a score.
    """
    broken_N2 = (~torch.isfinite(scores_BK)).nonzero()
    if len(broken_N2):
        (b, k), count = broken_N2[0].tolist(), len(set(broken_N2[:, 0].tolist()))
        name = scorer.outputs[k]
        given = next(one.name for one in parts_of(scorer) if name in one.outputs)
        raise UserError(
            f"{key}={given}: the score {name} is {float(scores_BK[b, k])} for a response to the prompt "
            f"{prompt_text(prompts[b])[:40]!r} ({count} of the batch's {len(prompts)} responses have such a score); "
            "the model's weights are broken, make it again"
        )
    return scores_BK
