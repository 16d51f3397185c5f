"""Scores that are no numbers stop an evaluation: NaN is above no threshold, and would pass for safe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.models.cost_models import CostModels
from csrlhf.models.text_scorer import TextScorer
from csrlhf.types import Prompt


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
