"""Several scorers as one: a weighted sum, or the highest of them.

Legend: B dialogues, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csrlhf.errors import UserError
from csrlhf.scorers.base import Scorer
from csrlhf.types import Prompt


class MixScorer(Scorer):
    """``Σ w_i s_i`` of scores that each scorer's own keys have put on the scale of the role; or ``max_i s_i``.

    As costs, the highest calls unsafe what one of them does.
    """

    def __init__(
        self,
        scorers: Sequence[Any],
        weights: Sequence[float] | None = None,
        combine: str = "sum",
        *,
        outputs: Sequence[str] | None = None,
        role: str = "cost",
        key: str = "inputs.cost",
    ) -> None:
        """Load all of them.

        Args:
            scorers: as a config names them, each of which gives all outputs.
            weights: of the sum, above 0; None weighs all alike, by 1 in all.
            combine: ``sum``, or ``max``, which takes no weights.
            outputs: the columns that are asked for.
            role: ``reward`` or ``cost``.
            key: where it is named, for messages.

        Raises:
            UserError: weights and scorers do not fit together, or one of them cannot be loaded.
        """
        from csrlhf.scorers.build import build  # which knows this class

        super().__init__()
        if not isinstance(scorers, Sequence) or isinstance(scorers, str) or not scorers:
            raise UserError(f"{key}.scorers={scorers}: takes a list of scorers")
        if combine not in ("sum", "max"):
            raise UserError(f"{key}.combine={combine}: must be sum or max")
        if combine == "max" and weights is not None:
            raise UserError(f"{key}.weights={list(weights)}: has no meaning with combine: max; leave it out")
        given = [1 / len(scorers)] * len(scorers) if weights is None else list(weights)
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in given)
        if len(given) != len(scorers) or not numbers or not all(0 < one < math.inf for one in given):
            raise UserError(
                f"{key}.weights={given}: must be a number above 0 for each of the {len(scorers)} scorers (a score that "
                "is to count against has higher: worse, or higher: safe)"
            )
        self.weights, self.combine = given, combine
        loaded = [build(f"{key}.scorers.{n}", spec, role, outputs) for n, spec in enumerate(scorers)]
        for one in loaded:
            if one.outputs != loaded[0].outputs:
                raise UserError(
                    f"{key}.scorers: {loaded[0].name} scores {', '.join(loaded[0].outputs)}, and {one.name} "
                    f"{', '.join(one.outputs)}; all must score the same"
                )
        self.scorers: Any = nn.ModuleList(loaded)
        self.outputs = loaded[0].outputs
        self.name = f"mix of {', '.join(one.name for one in loaded)}"

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """The mixed scores [B, K]."""
        parts = [scorer.score(prompts, responses, ended) for scorer in self.scorers]
        device = next((part.device for part in parts if part.device.type != "cpu"), parts[0].device)
        parts_NBK = torch.stack([part.to(device, torch.promote_types(part.dtype, torch.float32)) for part in parts])
        if self.combine == "max":
            return parts_NBK.amax(0)
        weights_N11 = torch.tensor(self.weights, device=device, dtype=parts_NBK.dtype)[:, None, None]
        return (weights_N11 * parts_NBK).sum(0)

    def choose(self, outputs: Sequence[str]) -> None:
        """Tells all of them."""
        for scorer in self.scorers:
            scorer.choose(outputs)
        self.outputs = tuple(outputs)

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether one of them does."""
        return any(scorer.cut_short(prompt, response, ended) for scorer in self.scorers)

    def keep_in(self, folder: Path) -> None:
        """Tells all of them."""
        for scorer in self.scorers:
            scorer.keep_in(folder)
