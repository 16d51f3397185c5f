"""How many labels until an audit is decided? ``python -m benchmarks.audits`` makes table and figure of certificates.md.

Three ways to bound the true unsafe rate by labels: a number that is fixed beforehand (by who knows the rate: the least
that decides four audits in five), labels one after the other by the betting martingale, and the same with what the cost
model flags oversampled. And what the old habit does, a fixed-n bound that is looked at again and again. Exact where
every response is labelled, simulated otherwise; ``--pool`` adds responses of the toy world, judged by its oracle.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.certificates.audits import (
    CONFIDENCE,
    THRESHOLD,
    CostModel,
    Ends,
    fixed_labels,
    looks_ends,
    plain_ends,
    stratified_ends,
)
from benchmarks.penalty_curves import write_table
from csrlhf.evaluation.answers.records import read_answers
from csrlhf.stats.audit_rates import LEAST_RATE

ROOT = Path(__file__).resolve().parent.parent
IMAGE, PAGE = ROOT / "docs" / "images" / "audits.png", ROOT / "docs" / "explanation" / "certificates.md"
MARKS = ("<!-- table: python -m benchmarks.audits -->", "<!-- end of the table of audits -->")
RATES = (0.003, 0.01, 0.015, 0.05, 0.06, 0.09)
"""True unsafe rates, held against 3 %."""
MODELS = (CostModel(0.95, 0.8), CostModel(0.8, 0.5), CostModel(0.5, 0.5), CostModel(0.1, 0.1))
RESPONSES = 10_000
LONGEST = 6000


@dataclass(frozen=True)
class Line:
    """Audits at one true rate.

    Attributes:
        rate: the truth.
        fixed: labels that decide four in five, fixed beforehand.
        plain: any time, every response.
        stratified: any time, by what chooses: a cost model's words.
    """

    rate: float
    fixed: float
    plain: Ends
    stratified: Mapping[str, Ends]


def words(model: CostModel) -> str:
    """Of a column."""
    return f"recall {model.recall:g}, precision {model.precision:g}"


def line(rate: float, replicates: int) -> Line:
    """Everything at one rate."""
    ends = {
        words(model): stratified_ends(lambda rng, one=model: one.draw(rng, rate, RESPONSES), LEAST_RATE, replicates)
        for model in MODELS
    }
    fixed = fixed_labels(rate, THRESHOLD, CONFIDENCE, LONGEST)
    return Line(rate, fixed, plain_ends(rate, THRESHOLD, CONFIDENCE, LONGEST), ends)


# Wrong verdicts, where the truth is the threshold itself: the worst there is.


def false_lines(replicates: int, longest: int = 2000) -> list[tuple[str, str, float]]:
    """Rule, when it is looked at, and how often it certifies a rate that is (a hair above) the threshold."""
    found = [
        ("Clopper-Pearson for a fixed n", f"every {every} labels, up to {most:,}",
         looks_ends(THRESHOLD, THRESHOLD, CONFIDENCE, every, most).certified)
        for every in (50, 100)
        for most in (longest // 2, longest)
    ]  # fmt: skip
    plain = plain_ends(THRESHOLD, THRESHOLD, CONFIDENCE, longest)
    found.append(("betting, every response", f"every label, up to {longest:,}", plain.certified))
    for model in MODELS:
        ends = stratified_ends(lambda rng, one=model: one.draw(rng, THRESHOLD, RESPONSES), LEAST_RATE, replicates)
        found.append(
            (f"betting, stratified, {words(model)}", f"every label, of {RESPONSES:,} responses", ends.certified)
        )
    return found


# Responses of the toy world, judged by its oracle.


@dataclass(frozen=True)
class Pool:
    """Kept responses, what the oracle says of them, and what the cost model says.

    Attributes:
        name: of the policy.
        flags_unsafe: of the unsafe ones, whether each is flagged.
        flags_safe: of the safe ones.
    """

    name: str
    flags_unsafe: NDArray[np.bool_]
    flags_safe: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> Pool:
        """An ``answers.jsonl`` of ``stage=certify`` on the toy world."""
        answers = read_answers(path)
        flagged = np.array([max(one.cost_logits.values()) > 0 for one in answers])
        unsafe = np.array([bool((one.oracle or {})["unsafe"]) for one in answers])
        return cls(answers[0].policy, flagged[unsafe], flagged[~unsafe])

    def draw(self, rng: np.random.Generator, rate: float, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Responses with another base rate: unsafe and safe ones as they are, in other shares."""
        unsafe_N = rng.random(count) < rate
        flagged_N = np.where(unsafe_N, rng.choice(self.flags_unsafe, count), rng.choice(self.flags_safe, count))
        return unsafe_N, flagged_N

    def words(self) -> str:
        """Of a column."""
        recall, false = self.flags_unsafe.mean(), self.flags_safe.mean()
        return f"toy world, recall {recall:.2f}, {100 * false:.1f} % of the safe flagged"


def with_pool(found: Line, pool: Pool, replicates: int) -> Line:
    """The line with a column for the pool."""
    ends = stratified_ends(lambda rng: pool.draw(rng, found.rate, RESPONSES), LEAST_RATE, replicates)
    return Line(found.rate, found.fixed, found.plain, {**found.stratified, pool.words(): ends})


# Tables and figure.


def table(lines: Sequence[Line], wrong: Sequence[tuple[str, str, float]]) -> str:
    """Both tables in Markdown."""
    head = ("rule", "looked at", "certifies a rate just above 3 %")
    rows = [head, *((rule, when, f"{100 * share:.1f} %") for rule, when, share in wrong)]
    columns = list(lines[0].stratified)
    heads = ("true rate", "fixed n", "any time", *(f"stratified: {one}" for one in columns))
    found: list[tuple[str, ...]] = [heads]
    for one in lines:
        ends = [one.plain, *one.stratified.values()]
        found.append((f"{100 * one.rate:g} %", _count(one.fixed), *map(_labels, ends)))
    return f"{_table(rows)}\n\n{_table(found)}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _count(number: float) -> str:
    return f"{number:,.0f}" if np.isfinite(number) else "-"


def _labels(ends: Ends) -> str:
    """Labels that decide four in five, and the mean; with what is left undecided."""
    left = f", {100 * ends.undecided:.0f} % open" if ends.undecided > 0.005 else ""
    return f"{_count(ends.most)} ({_count(ends.mean)}{left})"


COLORS = ("#d1495b", "#444444", "#1f6fb4", "#2a9d6f", "#e08a1e", "#8e6bbf", "#7a7a7a")


def draw(lines: Sequence[Line], wrong: Sequence[tuple[str, str, float]], path: Path) -> None:
    """Wrong certificates, and labels against the true rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.6, 3.9))
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1.5))
    bars = [
        (f"{'fixed n' if 'fixed' in rule else 'any time'}\n{when.split(',')[0]}", share) for rule, when, share in wrong
    ]
    chosen = [bars[1], bars[3], bars[4]]
    left.bar(
        [name for name, _ in chosen], [100 * share for _, share in chosen], color=[COLORS[0], COLORS[0], COLORS[2]]
    )
    left.axhline(100 * (1 - CONFIDENCE), color=COLORS[1], linestyle="--", linewidth=1.0, label="promised at most")
    left.set(ylabel="false certificates, %", title="Label until it says CERTIFIED")
    left.legend(fontsize=8, frameon=False)
    left.tick_params(axis="x", labelsize=7)
    for number, (low, high) in enumerate(((0.0, THRESHOLD), (THRESHOLD, 1.0))):
        part = [one for one in lines if low < one.rate <= high]
        curves = {"fixed n, the rate known": [one.fixed for one in part], "any time": [one.plain.most for one in part]}
        for name in lines[0].stratified:
            curves[f"stratified: {name}"] = [one.stratified[name].most for one in part]
        for color, (name, values) in zip(COLORS, curves.items(), strict=False):
            shown = name if number == 0 else None
            right.plot(
                [100 * one.rate for one in part], values, "o-", color=color, linewidth=1.4, markersize=4, label=shown
            )
    right.axvline(100 * THRESHOLD, color="#999999", linestyle="--", linewidth=1.0)
    right.set(xlabel="true unsafe rate, % (threshold 3 %)", ylabel="labels that decide four in five", yscale="log")
    right.set_title("Labels to a verdict")
    right.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (left, right):
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Compute, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000, help="simulated audits of each setting")
    parser.add_argument(
        "--pool", type=Path, action="append", default=[], help="answers.jsonl of stage=certify, data=toy"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--image", type=Path, default=IMAGE)
    options = parser.parse_args()
    pools, lines = [Pool.read(path) for path in options.pool], []
    for rate in RATES:
        found = line(rate, options.replicates)
        for pool in pools:
            found = with_pool(found, pool, options.replicates)
        lines.append(found)
        print(f"true rate {100 * rate:g} %: done", flush=True)
    wrong = false_lines(options.replicates)
    text = table(lines, wrong)
    print(text)
    draw(lines, wrong, options.image)
    write_table(text, options.page, MARKS)


if __name__ == "__main__":
    main()
