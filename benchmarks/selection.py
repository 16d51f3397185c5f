"""Which policy of a run to hand over: ``python -m benchmarks.selection``, for docs/explanation/selection.md.

Runs of 24 evaluations and that of the start policy, d = 3 %, δ = 5 %: which rules find a policy that keeps the
threshold, how often what they find does not, and how much reward is given away.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.penalty_curves import write_table
from benchmarks.selecting.rules import RULES, Outcome, outcome
from benchmarks.selecting.world import CONFIDENCE, Run, falling, flat, hovering, overshooting, simulate

ROOT = Path(__file__).resolve().parent.parent
IMAGE, PAGE = ROOT / "docs" / "images" / "selection.png", ROOT / "docs" / "explanation" / "selection.md"
MARKS = ("<!-- table: python -m benchmarks.selection -->", "<!-- end of table -->")

POWER = {f"{100 * rate:g} %": falling(rate) for rate in (0.005, 0.01, 0.015, 0.02, 0.025)}
"""Runs that end at a rate below d."""

SHAPES = {"hovering 2 %": hovering(0.02), "hovering 3 %": hovering(0.03), "overshooting": overshooting(0.033)}
"""Runs whose policies differ: some keep d, some do not."""

FALSE = {
    "flat 3.01 %": flat(0.0301),
    "flat 3.25 %": flat(0.0325),
    "flat 3.5 %": flat(0.035),
    "falling 3.01 %": falling(0.0301),
    "hovering 3.8 %": hovering(0.038),
    "hovering 3 %": hovering(0.03),
    "overshooting": overshooting(0.033),
}
"""Runs in which a rule may hand over, as feasible, what is not."""


@dataclass(frozen=True)
class Setting:
    """A rule with so many prompts.

    Attributes:
        rule: a key of ``RULES``.
        num_prompts: of an evaluation.
        num_confirmation: further ones.
    """

    rule: str
    num_prompts: int
    num_confirmation: int

    @property
    def words(self) -> str:
        prompts = f"{self.num_prompts}" + (f" + {self.num_confirmation:,}" if self.num_confirmation else "")
        return f"{RULES[self.rule][0]} | {prompts}"


SETTINGS = (
    Setting("each", 512, 0),
    Setting("union", 512, 0),
    Setting("shortlist", 128, 384),
    Setting("union", 1024, 0),
    Setting("shortlist", 512, 512),
    Setting("union", 1536, 0),
    Setting("shortlist", 512, 1024),
    Setting("union", 2048, 0),
    Setting("one", 512, 1536),
    Setting("sequence", 512, 1536),
    Setting("halves", 512, 1536),
    Setting("shortlist", 512, 1536),
    Setting("all", 512, 1536),
    Setting("shortlist", 512, 2048),
)
DRAWN = {
    Setting("each", 512, 0): "#9a9a9a", Setting("union", 512, 0): "#d1495b", Setting("union", 2048, 0): "#e08a1e",
    Setting("one", 512, 1536): "#2a9d6f", Setting("shortlist", 512, 1536): "#1f6fb4",
}  # fmt: skip

Found = dict[Setting, dict[str, Outcome]]


def study(replicates: int, settings: Sequence[Setting] = SETTINGS) -> Found:
    """Every setting on every run; false findings also where evaluations are independent of each other."""
    runs: dict[str, Run] = POWER | SHAPES | FALSE
    found: Found = {setting: {} for setting in settings}
    for sizes in dict.fromkeys((one.num_prompts, one.num_confirmation) for one in settings):
        rules = [one for one in settings if (one.num_prompts, one.num_confirmation) == sizes]
        for name, run in runs.items():
            looks = list(simulate(run, *sizes, replicates))
            for setting in rules:
                found[setting][name] = outcome(RULES[setting.rule][1], run, looks)
        looks = list(simulate(FALSE["flat 3.01 %"], *sizes, replicates, seed=1, shared=0.0, memory=0.0))
        for setting in rules:
            found[setting]["independent"] = outcome(RULES[setting.rule][1], FALSE["flat 3.01 %"], looks)
        print(sizes, flush=True)
    return found


def row(setting: Setting, found: dict[str, Outcome]) -> str:
    """A line of the table."""
    worst = max(found[name].false for name in (*FALSE, "independent"))
    asked = [found[name] for name in (*POWER, *SHAPES)]
    responses = 25 * setting.num_prompts + sum(one.responses for one in asked) / len(asked)
    cells = [setting.words, f"{responses / 1000:.1f}", *(f"{100 * found[name].found:.0f} %" for name in POWER)]
    for name in SHAPES:
        share = "" if found[name].found < 0.02 else f" ({100 * found[name].reward:.0f} %)"
        cells.append(f"{100 * found[name].found:.0f} %{share}")
    return "| " + " | ".join([*cells, f"{100 * worst:.1f} %"]) + " |"


def table(found: Found) -> str:
    """The table in Markdown."""
    heads = ("rule", "prompts", "thousand responses", *POWER, *SHAPES, "false, at most")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(row(setting, outcomes) for setting, outcomes in found.items())])


def draw(found: Found, path: Path) -> None:
    """Found against the rate that a run ends at; false findings of runs without a feasible policy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.8))
    left, right = figure.subplots(1, 2)
    above = {3.01: "flat 3.01 %", 3.25: "flat 3.25 %", 3.5: "flat 3.5 %"}
    for setting, color in DRAWN.items():
        if setting not in found:
            continue
        label = setting.words.replace(" | ", ", ")
        rates = [float(name.split()[0]) for name in POWER]
        left.plot(rates, [100 * found[setting][name].found for name in POWER], "o-", color=color, label=label, lw=1.4)
        false = [100 * found[setting][name].false for name in above.values()]
        right.plot(list(above), false, "o-", color=color, label=label, lw=1.4)
    left.set(xlabel="true unsafe rate at the end of a run (%)", ylabel="a feasible policy is found (%)", ylim=(0, 103))
    right.axhline(100 * (1 - CONFIDENCE), color="#444444", linestyle="--", linewidth=1.0, label="δ")
    right.set(xlabel="true unsafe rate of all policies (%)", ylabel="one is called feasible (%)")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    right.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000, help="of each run (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--image", type=Path, default=IMAGE)
    options = parser.parse_args(arguments)
    found = study(options.replicates)
    draw(found, options.image)
    write_table(table(found), options.page, MARKS)
    print(table(found))


if __name__ == "__main__":
    main()
