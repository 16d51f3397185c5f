"""One cost model with an output per constraint, or several that share the constraints out among them.

Legend: B dialogues, K constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.models.text_scorer import TextScorer
from csrlhf.types import Prompt

CostFolders = str | Path | Mapping[str, str] | Sequence[str]
"""A folder; folders by the name of the constraint whose output they hold; or folders that cover the constraints."""


def named_folders(cost: CostFolders) -> dict[str, str]:
    """Every folder under a name: its constraint's, its number in a list, or ``cost`` where it is the only one."""
    if isinstance(cost, str | Path):
        return {"cost": str(cost)}
    pairs = cost.items() if isinstance(cost, Mapping) else enumerate(cost)
    return {str(name): str(folder) for name, folder in pairs}


class CostModels(nn.Module):
    """Several frozen cost models behind one score, in the way of a :class:`TextScorer`."""

    def __init__(self, scorers: Sequence[TextScorer], outputs: Sequence[str]) -> None:
        """Keep the scorers.

        Args:
            scorers: each output is in exactly one of them.
            outputs: names of the columns, in the order to give them.
        """
        super().__init__()
        self.scorers = nn.ModuleList(scorers)
        self.outputs = tuple(outputs)
        found = [name for scorer in scorers for name in scorer.outputs]
        self._columns = [found.index(name) for name in self.outputs]

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Cost logits [B, K]; see :meth:`TextScorer.score`."""
        parts = [scorer.score(prompts, responses, ended) for scorer in self.scorers]  # type: ignore[operator]  # scorers
        return torch.cat(parts, dim=-1)[:, self._columns]


def cost_scorer(folders: CostFolders, constraints: Sequence[str]) -> TextScorer | CostModels:
    """The cost models of a run, loaded.

    Args:
        folders: one folder, or several; a folder that a mapping names twice is loaded once.
        constraints: their names, in the order of the columns.

    Raises:
        UserError: a constraint has no output or several; the message names folders and constraints.
    """
    if isinstance(folders, str | Path):
        return TextScorer(folders, outputs=constraints)
    if isinstance(folders, Mapping):
        return CostModels(_by_name(folders, constraints), constraints)
    return CostModels(_by_outputs(folders, constraints), constraints)


def temperatures(scorers: Sequence[TextScorer]) -> dict[str, float]:
    """What each output's logits are divided by, by its name."""
    return {
        name: float(value)
        for scorer in scorers
        for name, value in zip(scorer.outputs, scorer.temperature_K.tolist(), strict=True)
    }


def _by_name(folders: Mapping[str, str], constraints: Sequence[str]) -> list[TextScorer]:
    unknown, missing = set(folders) - set(constraints), set(constraints) - set(folders)
    if unknown or missing:
        raise UserError(
            f"inputs.cost={dict(folders)}: names {', '.join(sorted(folders))}, the constraints are "
            f"{', '.join(constraints)}; name one folder for each of them"
        )
    names: dict[str, list[str]] = {}
    for name in constraints:
        names.setdefault(str(folders[name]), []).append(name)
    return [TextScorer(folder, outputs=outputs) for folder, outputs in names.items()]


def _by_outputs(folders: Sequence[str], constraints: Sequence[str]) -> list[TextScorer]:
    scorers = {str(folder): TextScorer(folder) for folder in folders}
    listed = "; ".join(f"{folder} scores {', '.join(scorer.outputs)}" for folder, scorer in scorers.items())
    holders = {name: [f for f, scorer in scorers.items() if name in scorer.outputs] for name in constraints}
    for name, holding in holders.items():
        if not holding:
            raise UserError(f"inputs.cost: none of the cost models scores {name} ({listed}); add one that does")
        if len(holding) > 1:
            raise UserError(
                f"inputs.cost: {' and '.join(holding)} both score {name}; say which is meant, "
                f"inputs.cost={{{name}: {holding[0]}, ...}}"
            )
    for folder, scorer in scorers.items():
        chosen = tuple(name for name in constraints if name in scorer.outputs)
        if not chosen:
            raise UserError(f"inputs.cost: {folder} scores none of {', '.join(constraints)} ({listed}); leave it out")
        scorer.choose(chosen)
    return list(scorers.values())


# Scores that are no numbers stop an evaluation: NaN is above no threshold, and would pass for safe.


def finite_scores(key: str, scorer: TextScorer | CostModels, scores_BK: Tensor, prompts: Sequence[Prompt]) -> Tensor:
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
        raise UserError(
            f"{key}={_folder(scorer, name)}: the score {name} is {float(scores_BK[b, k])} for a response to the prompt "
            f"{prompt_text(prompts[b])[:40]!r} ({count} of the batch's {len(prompts)} responses have such a score); "
            "the model's weights are broken, make it again"
        )
    return scores_BK


def _folder(scorer: TextScorer | CostModels, output: str) -> str | Path:
    """Of the model that gives this output."""
    if isinstance(scorer, CostModels):
        return next(one.folder for one in scorer.scorers if output in one.outputs)  # type: ignore[union-attr,operator,return-value]  # scorers
    return scorer.folder
