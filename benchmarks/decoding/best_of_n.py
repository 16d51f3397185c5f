"""What ``benchmarks.best_of_n`` measures of candidates whose truth is known, and its figure.

Legend of suffixes: P prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from csrlhf.generation import Candidate, choose
from csrlhf.generation.candidates import accepts
from csrlhf.generation.config import Rule

COUNTS = (1, 4, 16)
FULL, HALF = "τ = 0", "misses half"


@dataclass(frozen=True)
class Judged:
    """A candidate with the truth about it."""

    candidate: Candidate
    unsafe: bool
    helped: bool


@dataclass(frozen=True)
class Line:
    """One setting: means over the prompts, with the half width of a 95 % interval for the unsafe ones.

    Attributes:
        policy: which one.
        cost_model: ``FULL`` or ``HALF``.
        rule: ``best`` or ``first``.
        n: the most candidates.
        unsafe: share of prompts that got an unsafe answer.
        unsafe_half: prompts are the unit; the blocks of one prompt are averaged first.
        abstained: share of prompts that got the refusal.
        helped: share of prompts that got a helpful answer.
        reward: mean over the answers given.
        tried: candidates drawn per prompt.
    """

    policy: str
    cost_model: str
    rule: str
    n: int
    unsafe: float
    unsafe_half: float
    abstained: float
    helped: float
    reward: float
    tried: float


def at(judged: Sequence[Sequence[Judged]], threshold: float) -> list[list[Judged]]:
    """The same draws, accepted by this threshold."""

    def accepted(one: Candidate) -> bool:
        return accepts(one.response, one.costs, dict.fromkeys(one.costs, threshold))

    return [
        [replace(one, candidate=replace(one.candidate, accepted=accepted(one.candidate))) for one in tries]
        for tries in judged
    ]


def half_blind(judged: Sequence[Sequence[Judged]]) -> float:
    """The threshold that half of the unsafe candidates pass."""
    logits = [max(one.candidate.costs.values()) for tries in judged for one in tries if one.unsafe]
    return median(logits) if logits else 0.0


def measure(judged: Sequence[Sequence[Judged]], policy: str, cost_model: str, rule: str, n: int) -> Line:
    """What a decoder with this rule and N shows, over all whole blocks of N candidates."""
    shown = [[_shown(tries[start : start + n], rule) for start in range(0, len(tries) - n + 1, n)] for tries in judged]

    def share(of: Callable[[Judged | None], bool]) -> np.ndarray:
        return np.array([np.mean([of(one) for one, _ in blocks]) for blocks in shown])

    unsafe_P = share(lambda one: one is not None and one.unsafe)
    rewards = [one.candidate.reward for blocks in shown for one, _ in blocks if one is not None]
    return Line(
        policy, cost_model, rule, n,
        unsafe=float(unsafe_P.mean()),
        unsafe_half=float(1.96 * unsafe_P.std(ddof=1) / math.sqrt(len(unsafe_P))),
        abstained=float(share(lambda one: one is None).mean()),
        helped=float(share(lambda one: one is not None and one.helped).mean()),
        reward=float(np.mean([value for value in rewards if value is not None])) if rewards else math.nan,
        tried=float(np.mean([count for blocks in shown for _, count in blocks])),
    )  # fmt: skip


def _shown(tries: Sequence[Judged], rule: str) -> tuple[Judged | None, int]:
    """What is shown of these candidates, and how many were drawn for it."""
    chosen = choose([one.candidate for one in tries], rule)
    if chosen is None:
        return None, len(tries)
    place = next(i for i, one in enumerate(tries) if one.candidate is chosen)
    return tries[place], place + 1 if rule == "first" else len(tries)


def lines_of(judged: Sequence[Sequence[Judged]], policy: str) -> list[Line]:
    """All settings of a policy."""
    found = []
    for cost_model, threshold in ((FULL, 0.0), (HALF, half_blind(judged))):
        accepted = at(judged, threshold)
        found += [
            measure(accepted, policy, cost_model, rule, n) for rule in Rule for n in COUNTS if n <= len(judged[0])
        ]
    return found


def figure(lines: Sequence[Line], path: Path) -> None:
    """Unsafe answers, refusals and reward against N, a colour per policy and cost model, dashed for ``first``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys((one.policy, one.cost_model) for one in lines))
    colors = dict(zip(kinds, ("#d1495b", "#e08a1e", "#1f6fb4", "#2a9d6f"), strict=False))
    panels: list[tuple[str, Any]] = [
        ("Unsafe answers", lambda one: one.unsafe),
        ("Refused for want of an accepted answer", lambda one: one.abstained),
        ("Mean reward of the answers given", lambda one: one.reward),
    ]
    drawing, axes = plt.subplots(1, 3, figsize=(14.0, 4.2))
    for axis, (title, value) in zip(axes, panels, strict=True):
        for kind in kinds:
            for rule, style in (("best", "-"), ("first", "--")):
                mine = [one for one in lines if (one.policy, one.cost_model, one.rule) == (*kind, rule)]
                label = f"{kind[0]}, {kind[1]}, {rule}"
                points = [one.n for one in mine], [value(one) for one in mine]
                axis.plot(*points, style, color=colors[kind], marker="o", markersize=4, linewidth=1.5, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({one.n for one in lines}), sorted({str(one.n) for one in lines}, key=int))
        axis.set(xlabel="N")
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(fontsize=7.5, frameon=False)
    drawing.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)
