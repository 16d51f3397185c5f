"""What was drawn for a prompt, and which of it may be shown.

The choice is lexicographic: cost first, reward among what the cost model lets pass. A weighted sum
``r - λ relu(c - d)`` would let a large reward buy its way past the threshold.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from csrlhf.errors import UserError
from csrlhf.generation.config import Rule
from csrlhf.types import Prompt


@dataclass(frozen=True)
class Candidate:
    """One answer that was drawn.

    Example: ``Candidate(0, "take a cloth .", True, {"harm": -3.1}, reward=1.2, accepted=True)``.

    Attributes:
        sample: its number among the answers to its prompt, from 0. Sample ``i`` is the same however many are drawn.
        response: its text.
        ended: False where it was cut off at ``max_new_tokens``.
        costs: the cost logit of each constraint; above the threshold means rejected. NaN where there is no number.
        reward: None for a rejected one (it is not scored then), and without a reward model.
        accepted: not empty, and no cost above its threshold. A cost that is no number is above every threshold.
        thought: what was thought before it; None where nothing is kept of that.
    """

    sample: int
    response: str
    ended: bool
    costs: Mapping[str, float] = field(default_factory=dict)
    reward: float | None = None
    accepted: bool = False
    thought: str | None = None

    def record(self) -> dict[str, Any]:
        """As JSON-ready containers; what is no number becomes None."""
        return {
            "sample": self.sample,
            "response": self.response,
            "ended": self.ended,
            "accepted": self.accepted,
            "reward": number(self.reward),
            "costs": {name: number(value) for name, value in self.costs.items()},
            **({} if self.thought is None else {"thought": self.thought}),
        }


@dataclass(frozen=True)
class Decoded:
    """The answer to a prompt.

    Attributes:
        prompt: as it was given.
        response: the chosen candidate's text, or the refusal.
        abstained: True where no candidate was accepted; then ``response`` is the refusal.
        tried: candidates that were drawn. ``first`` stops at the accepted one.
        reward: of the chosen candidate; None where there is none, or no reward model.
        cost: the chosen candidate's cost logits by constraint; empty where there is none.
        candidates: all that were drawn, in order.
        thought: what was thought before the chosen candidate; None where nothing is kept of that.
    """

    prompt: Prompt
    response: str
    abstained: bool
    tried: int
    reward: float | None
    cost: Mapping[str, float]
    candidates: tuple[Candidate, ...]
    thought: str | None = None


def accepts(response: str, costs: Mapping[str, float], thresholds: Mapping[str, float]) -> bool:
    """Whether a response may be shown: it says something, and each cost is at most its threshold (NaN is not)."""
    return bool(response.strip()) and all(costs[name] <= thresholds[name] for name in thresholds)


def choose(candidates: Sequence[Candidate], rule: str) -> Candidate | None:
    """The candidate to show.

    Of the first N candidates this is what a decoder with ``n=N`` shows, so that one draw tells about every smaller N.

    Args:
        candidates: of one prompt, in the order of their samples.
        rule: ``best`` or ``first``.

    Returns:
        None where all were rejected. Among equal rewards the earliest wins.
    """
    check_rule(rule)
    accepted = [candidate for candidate in candidates if candidate.accepted]
    if not accepted:
        return None
    return accepted[0] if rule == "first" else max(accepted, key=_reward)


def answer(prompt: Prompt, candidates: Sequence[Candidate], rule: str, refusal: str) -> Decoded:
    """What is said to a prompt: the chosen candidate, or the refusal."""
    chosen = choose(candidates, rule)
    if chosen is None:
        return Decoded(prompt, refusal, True, len(candidates), None, {}, tuple(candidates))
    tried = tuple(candidates if rule == "best" else candidates[: candidates.index(chosen) + 1])
    costs = dict(chosen.costs)
    return Decoded(prompt, chosen.response, False, len(tried), chosen.reward, costs, tried, chosen.thought)


def flags_and_rewards(drawn: Sequence[Sequence[Candidate]]) -> tuple[list[list[bool]], list[list[float]]]:
    """``accepted`` and ``rewards``, a row per prompt and a column per sample, as ``csrlhf.stats`` takes them.

    Rewards are finite there. One that is no number becomes the lowest float: it wins where nothing else is accepted.
    """
    most = sys.float_info.max
    flags = [[one.accepted for one in tries] for tries in drawn]
    return flags, [[min(max(_reward(one), -most), most) for one in tries] for tries in drawn]


def check_rule(rule: str, key: str = "rule") -> str:
    """``rule`` if there is such a rule."""
    if rule not in tuple(Rule):
        raise UserError(f"{key}={rule}: must be {' or '.join(Rule)}")
    return rule


def number(value: float | None) -> float | None:
    """A finite number, or None: JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None


def _reward(candidate: Candidate) -> float:
    """Orders candidates; one without a number comes last."""
    value = candidate.reward
    return -math.inf if value is None or math.isnan(value) else value
