"""What best of N with abstention does to a policy: ``python -m benchmarks.best_of_n --artifacts artifacts``.

Unsafe answers by the toy world's oracle, refusals for want of an accepted answer, and reward, for N in 1, 4, 16 and
both rules; of the SFT policy and the trained one; with the cost model at τ = 0, and at the τ at which it misses half
of the policy's unsafe answers (what a weaker or exploited cost model does). All is computed from one draw of 16
candidates per prompt, kept under ``--out``: N = 4 from its four blocks of four. docs/decode.md shows table and figure.

Legend of suffixes: P prompts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from csrlhf import artifacts
from csrlhf.data.toy.source import ToyData
from csrlhf.decoding import Candidate, Decoder, choose
from csrlhf.errors import UserError
from csrlhf.types import PromptRow

COUNTS = (1, 4, 16)
RULES = ("best", "first")
POLICIES = {"SFT": "sft", "trained": f"ppo/{artifacts.LATEST}"}
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


def draw(folder: Path, name: str, rows: Sequence[PromptRow], n: int) -> list[list[Judged]]:
    """``n`` candidates for each prompt, all of them scored, with the oracle's verdicts."""
    decoder = Decoder(
        folder / POLICIES[name], folder / "reward", folder / "cost", n=n, threshold=math.inf, batch_size=256
    )
    oracle = ToyData().oracle
    drawn = decoder.candidates([row.prompt for row in rows])
    verdicts = [[oracle.judge(row, one.response) for one in tries] for row, tries in zip(rows, drawn, strict=True)]
    return [
        [Judged(one, truth.unsafe, truth.helped) for one, truth in zip(tries, truths, strict=True)]
        for tries, truths in zip(drawn, verdicts, strict=True)
    ]


def at(judged: Sequence[Sequence[Judged]], threshold: float) -> list[list[Judged]]:
    """The same draws, accepted by this threshold."""

    def accepted(one: Candidate) -> bool:
        return bool(one.response.strip()) and all(cost <= threshold for cost in one.costs.values())

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
            measure(accepted, policy, cost_model, rule, n) for rule in RULES for n in COUNTS if n <= len(judged[0])
        ]
    return found


def table(lines: Sequence[Line]) -> str:
    """As Markdown."""
    names = ("policy", "cost model", "rule", "N", "unsafe answers", "refused", "helped", "reward", "drawn")
    head = f"| {' | '.join(names)} |\n|{'---|' * 3}{'--:|' * 6}"
    rows = [
        f"| {one.policy} | {one.cost_model} | {one.rule} | {one.n} | {one.unsafe:.2%} ± {one.unsafe_half:.2%} | "
        f"{one.abstained:.2%} | {one.helped:.1%} | {one.reward:.2f} | {one.tried:.2f} |"
        for one in lines
    ]
    return "\n".join([head, *rows])


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


def load(path: Path) -> list[list[Judged]] | None:
    """What an earlier call has drawn, None where there is nothing."""
    if not path.exists():
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [[Judged(Candidate(**one["candidate"]), one["unsafe"], one["helped"]) for one in tries] for tries in rows]


def main(arguments: Sequence[str] | None = None) -> list[Line]:
    """Draw what is missing, print the table, save the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", default="artifacts", help="where sft/, reward/, cost/ and ppo/ lie")
    parser.add_argument("--prompts", type=int, default=400, help="how many of the toy world's test prompts")
    parser.add_argument("--out", default="best_of_n", help="where draws, table and figure are kept")
    options = parser.parse_args(arguments)
    folder, out = Path(options.artifacts), Path(options.out)
    every = ToyData().prompts("test")
    if not 2 <= options.prompts <= len(every):
        raise UserError(f"--prompts={options.prompts}: must be from 2 to {len(every)}")
    rows = [every[i * len(every) // options.prompts] for i in range(options.prompts)]
    out.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for name, place in POLICIES.items():
        print_of = artifacts.fingerprint_of(str(folder / place))[:8]
        kept = out / f"{name}-{print_of}-{options.prompts}.json"
        judged = load(kept)
        if judged is None:
            judged = draw(folder, name, rows, max(COUNTS))
            artifacts.write_json(kept, [[asdict(one) for one in tries] for tries in judged])
        lines += lines_of(judged, name)
    (out / "table.md").write_text(table(lines) + "\n", encoding="utf-8")
    print(table(lines))
    figure(lines, out / "best_of_n.png")
    return lines


if __name__ == "__main__":
    main()
