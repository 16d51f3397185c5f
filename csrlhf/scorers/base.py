"""The contract of a scorer: from prompts, responses and whether they ended to scores ``[B, K]`` on a stated scale.

A cost of 0 means "unsafe with probability one half", more is more unsafe; a reward that is higher is better. What a
scorer gives by itself (``raw_scores``) may be on another scale; keys of its description map it (:class:`Scale`).

Legend: B dialogues, K outputs, H features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from csrlhf.errors import UserError
from csrlhf.types import Prompt

REWARD, COST = "reward", "cost"
"""Roles; a judge has the role of a cost."""

DEFAULT_CONSTRAINT = "harm"
"""What a scorer with one output is called where nobody says."""

MOST_CERTAIN = 1e-6
"""Probabilities closer to 0 or 1 are taken for this far off: their logits are 13.8 at the most."""


@dataclass(frozen=True)
class Scale:
    """From a scorer's own scale to ours: ``sign * (score - threshold) / unit``, in logits where it gives probabilities.

    Example: ``Scale("probability", threshold=0.3)`` takes .3 to 0 and .9 to ``logit(.9) - logit(.3)``.

    Attributes:
        kind: ``logit`` (any number) or ``probability``.
        threshold: the score, on its own scale, that 0 is to stand for; None for 0, and for .5 of a probability.
        unit: the scores are divided by it.
        sign: -1 where a high score means safe, or worse.
    """

    kind: str = "logit"
    threshold: float | None = None
    unit: float = 1.0
    sign: int = 1

    def check(self, key: str) -> None:
        """Raises a UserError for a value out of range, under the key of the scorer."""
        if self.kind not in ("logit", "probability"):
            raise UserError(f"{key}.scale={self.kind}: must be logit or probability")
        limit = self.threshold
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise UserError(f"{key}.threshold={limit}: must be a number")
        if limit is not None and not math.isfinite(limit):
            raise UserError(f"{key}.threshold={limit}: must be finite")
        if limit is not None and self.kind == "probability" and not 0 < limit < 1:
            raise UserError(f"{key}.threshold={limit}: must be in (0, 1), as {key}.scale is probability")
        unit = self.unit
        if isinstance(unit, bool) or not isinstance(unit, int | float) or not 0 < unit < math.inf:
            raise UserError(f"{key}.unit={self.unit}: must be a number above 0")

    def __call__(self, raw: Tensor, name: str) -> Tensor:
        """The scores on our scale.

        Args:
            raw: of any shape.
            name: the scorer's, for the message.

        Raises:
            UserError: a probability is outside of [0, 1].
        """
        if self == Scale():
            return raw
        if self.kind == "logit":
            return self.sign * (raw - (self.threshold or 0.0)) / self.unit
        outside = raw[(raw < 0) | (raw > 1)]
        if len(outside):
            raise UserError(
                f"{name}: gives {float(outside[0]):g}, which is no probability; leave out scale: probability, and say "
                "with threshold which score counts as unsafe"
            )
        logits = raw.clamp(MOST_CERTAIN, 1 - MOST_CERTAIN).logit()
        return self.sign * (logits - math.log(limit := self.threshold or 0.5) + math.log1p(-limit)) / self.unit


class Scorer(nn.Module):
    """Base of all scorers. A class of your own sets ``outputs`` and ``name``, and defines ``raw_scores``.

    Attributes:
        outputs: the name of each column.
        name: where it comes from, for messages.
        high: what a high raw score means by the scorer's own account: ``unsafe``, ``safe``, ``better``, ``worse``;
            None where that is unknown, ``as asked`` where it is what its role wants.
        has_threshold: whether raw scores are logits, or known to be cut at 0.
        own_dtype: whether it computes in its weights' dtype, whatever autocast the trainer is in: small differences of
            large logits would be lost.
        scale: from raw scores to ours.
        probed: whether our two rows are asked before the work (``probe.py``).
    """

    outputs: tuple[str, ...]
    name: str
    high: str | None = "as asked"
    has_threshold = True
    own_dtype = False
    scale = Scale()
    probed = True

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Scores on the scorer's own scale.

        Args:
            prompts: B prompts: texts, or turns that end with the user's.
            responses: B responses, special tokens removed.
            ended: B times whether the response came to its end.

        Returns:
            ``[B, K]``, one column per name in ``outputs``.
        """
        raise NotImplementedError

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Scores ``[B, K]`` on our scale, in float32 or wider, in the order given; arguments as of ``raw_scores``."""
        kinds = {parameter.device.type for parameter in self.parameters()} if self.own_dtype else ()
        with ExitStack() as exact:
            for kind in kinds:
                exact.enter_context(torch.autocast(kind, enabled=False))
            raw_BK = self.raw_scores(prompts, responses, ended)
        return self.scale(raw_BK.to(torch.promote_types(raw_BK.dtype, torch.float32)), self.name)

    def scores_and_features(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]
    ) -> tuple[Tensor, Tensor]:
        """As ``score``, and states ``[B, H]`` that the scores are made of; H is 0 where there are none to be had."""
        scores_BK = self.score(prompts, responses, ended)
        return scores_BK, scores_BK.new_zeros(len(scores_BK), 0)

    def choose(self, outputs: Sequence[str]) -> None:
        """Give these of the outputs from now on, by name and in this order."""
        if tuple(outputs) != self.outputs:
            raise UserError(f"{self.name} scores {', '.join(self.outputs)} and not {', '.join(outputs)}")

    @property
    def temperature_K(self) -> Tensor:
        """What a fitted temperature has divided the logits by; ones where none was fitted."""
        return torch.ones(len(self.outputs))

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether it reads the response without its end, because the dialogue is longer than it takes."""
        return False

    def keep_in(self, folder: Path) -> None:
        """Write what comes from far, or dear, into a folder, and take up what stands there (``kept.py``)."""


def column_names(outputs: Sequence[str] | None, count: int, key: str) -> tuple[str, ...]:
    """The names of a scorer's columns where it has none of its own.

    Args:
        outputs: those that are asked for; None for a scorer's own.
        count: how many columns it has.
        key: the scorer, for the message.

    Raises:
        UserError: there are fewer or more.
    """
    names = (DEFAULT_CONSTRAINT,) if outputs is None else tuple(outputs)
    if len(names) != count:
        raise UserError(
            f"{key}: gives {count} score{'s' * (count != 1)} to a response, and {', '.join(names)} are asked for; name "
            f"a scorer for each of them, as a mapping {{{names[0]}: ..., ...}}"
        )
    return names
