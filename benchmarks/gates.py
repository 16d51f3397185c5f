"""Which answers a gate should look at: ``python -m benchmarks.gates`` writes tables and figure of explanation/gates.md.

From the constrained optimum of the bandit (d = 0.1, B = 128) with three steps, λ of 2, 4 and 8 λ*, every gate and 200
replicates of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bandit.gates import Line, duty_cycle, line, settled_multiplier
from benchmarks.bandit.problem import example
from benchmarks.penalty_curves import write_table
from csrlhf.penalties.base import GATES

ROOT = Path(__file__).resolve().parent.parent
IMAGE, PAGE = ROOT / "docs" / "images" / "gates.png", ROOT / "docs" / "explanation" / "gates.md"
MARKS = ("<!-- table: python -m benchmarks.gates -->", "<!-- end of table -->")
RATIOS, RATES = (2.0, 4.0, 8.0), (0.1, 0.3, 1.0)
SCALE_MARKS = ("<!-- scales: python -m benchmarks.gates -->", "<!-- end of scales -->")
SCALES = {
    "none": "nothing (`none`)",
    "reward": "the reward's running scale (`reward`)",
    "mix": "its own spread (`whiten`, `scale`, `group`)",
}
COLORS = {"batch": "#d1495b", "leave_one_out": "#1f6fb4", "held_out": "#2a9d6f", "previous": "#e08a1e"}


def table(lines: Sequence[Line], settled: dict[tuple[str, float], float]) -> str:
    """Both tables on gates in Markdown."""
    heads = (
        "gate", "step", "λ / λ*", "mean weight / λ*", "/ λ* at that cost", "cost / d", "short of the optimum",
        "lower end holds", "upper end holds",
    )  # fmt: skip
    rows = [
        (
            f"`{one.gate}`", f"{one.rate:g}", f"{one.ratio:g}", f"{one.weight:.2f}", f"{one.local:.2f}",
            f"{one.cost:.2f}", f"{100 * one.lost:+.1f} %", f"{100 * one.lower:.0f} %", f"{100 * one.upper:.0f} %",
        )
        for one in lines
    ]  # fmt: skip
    text = [_row(heads), "|" + "---|" * len(heads), *map(_row, rows), "", "Where `adaptive` (margin 2) settles:", ""]
    text += [_row(("gate", *(f"step {rate:g}" for rate in RATES))), "|" + "---|" * (1 + len(RATES))]
    text += [_row((f"`{gate}`", *(f"{settled[gate, rate]:.2f} λ*" for rate in RATES))) for gate in GATES]
    return "\n".join(text)


def scale_table(duties: dict[tuple[str, float], float], settled: dict[str, float]) -> str:
    """The table on what divides the advantage in Markdown."""
    heads = ("divided by", *(f"λ = {ratio:g} λ*" for ratio in RATIOS), "where `adaptive` settles")
    right = ("right", *(f"{1 / ratio:.3f}" for ratio in RATIOS), "2.00 λ*")
    rows = [
        (words, *(f"{duties[scale, ratio]:.3f}" for ratio in RATIOS), f"{settled[scale]:.2f} λ*")
        for scale, words in SCALES.items()
    ]
    return "\n".join([_row(heads), "|" + "---|" * len(heads), *map(_row, [*rows, right])])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def draw(lines: Sequence[Line], path: Path) -> None:
    """Mean weight, and cost, against λ: a panel for each, a curve for each gate at the middle step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.8))
    panels = figure.subplots(1, 2)
    for axis, what, name, target in zip(
        panels, ("weight", "cost"), ("mean weight / λ*", "cost / d"), ("λ*", "threshold d"), strict=True
    ):
        for gate, color in COLORS.items():
            shown = [one for one in lines if one.gate == gate and one.rate == RATES[1]]
            ratios = [one.ratio for one in shown]
            axis.plot(ratios, [getattr(one, what) for one in shown], "o-", color=color, label=gate, linewidth=1.4)
        axis.axhline(1.0, color="#444444", linestyle="--", linewidth=1.0, label=target)
        axis.set(xlabel="λ / λ*", ylabel=name, xscale="log", xticks=RATIOS, xticklabels=[f"{one:g}" for one in RATIOS])
        axis.minorticks_off()
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200, help="runs of each setting")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each run")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--image", type=Path, default=IMAGE)
    options = parser.parse_args()
    bandit, lines = example(), []
    for rate in RATES:
        for gate in GATES:
            for ratio in RATIOS:
                lines.append(line(bandit, gate, ratio, rate, options.steps, options.replicates))
                print(lines[-1], flush=True)
    settled = {
        (gate, rate): settled_multiplier(bandit, gate, rate, 2 * options.steps, options.replicates // 2)
        for gate in GATES
        for rate in RATES
    }
    size = {"steps": options.steps, "replicates": options.replicates}
    duties = {
        (scale, ratio): duty_cycle(bandit, scale, ratio, RATES[1], **size) for scale in SCALES for ratio in RATIOS
    }
    longer = {"steps": 2 * options.steps, "replicates": options.replicates // 2}
    ends = {scale: settled_multiplier(bandit, "leave_one_out", RATES[1], **longer, scale=scale) for scale in SCALES}
    draw(lines, options.image)
    write_table(table(lines, settled), options.page, MARKS)
    write_table(scale_table(duties, ends), options.page, SCALE_MARKS)


if __name__ == "__main__":
    main()
