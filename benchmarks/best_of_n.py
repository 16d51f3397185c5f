"""What best of N with abstention does to a policy: ``python -m benchmarks.best_of_n --artifacts artifacts``.

Unsafe answers by the toy world's oracle, refusals for want of an accepted answer, and reward, for N in 1, 4, 16 and
both rules; of the SFT policy and the trained one; with the cost model at τ = 0, and at the τ at which it misses half
of the policy's unsafe answers (what a weaker or exploited cost model does). All is computed from one draw of 16
candidates per prompt, kept under ``--out``: N = 4 from its four blocks of four. Table and figure:
docs/how-to/decode.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.decoding.best_of_n import COUNTS, Judged, Line, figure, lines_of
from csrlhf.data.toy.source import ToyData
from csrlhf.errors import UserError
from csrlhf.generation import Candidate, Decoder
from csrlhf.runs import artifacts
from csrlhf.types import PromptRow

POLICIES = {"SFT": "sft", "trained": f"ppo/{artifacts.LATEST}"}


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


def table(lines: Sequence[Line]) -> str:
    """As Markdown."""
    names = ("policy", "cost model", "rule", "N", "unsafe responses", "refused", "helped", "reward", "drawn")
    head = f"| {' | '.join(names)} |\n|{'---|' * 3}{'--:|' * 6}"
    rows = [
        f"| {one.policy} | {one.cost_model} | {one.rule} | {one.n} | {one.unsafe:.2%} ± {one.unsafe_half:.2%} | "
        f"{one.abstained:.2%} | {one.helped:.1%} | {one.reward:.2f} | {one.tried:.2f} |"
        for one in lines
    ]
    return "\n".join([head, *rows])


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
