"""Figure and table of docs/reference/penalties.md: every strategy on the bandit whose answer is known.

``python -m benchmarks.penalty_curves`` writes both in half a minute. Each setting runs with five seeds, of which the
first is drawn.
"""

from __future__ import annotations

from pathlib import Path as File

import numpy as np

from benchmarks.bandit.curves import BEST, LIMIT, NOISE, OPTIMAL, Setting, draw, run, settings
from benchmarks.bandit.problem import Path

ROOT = File(__file__).resolve().parent.parent
IMAGE, PAGE = ROOT / "docs" / "images" / "penalties.png", ROOT / "docs" / "reference" / "penalties.md"
MARKS = ("<!-- table: python -m benchmarks.penalty_curves -->", "<!-- end of table -->")
COLUMNS = (
    "strategy", "cost", "predicted", "swing of the cost", "steps above d", "short of the optimum", "mean weight / λ*",
    "Σ violation",
)  # fmt: skip


def row(setting: Setting, paths: list[Path]) -> str:
    """A line of the table: means over the last half of the steps and over the seeds."""
    cost = float(np.mean([path.tail(path.cost_S) for path in paths]))
    swing = float(np.mean([path.cost_S[-len(path.cost_S) // 2 :].std() for path in paths]))
    above = float(np.mean([path.tail((path.cost_S > LIMIT).astype(float)) for path in paths]))
    gap = BEST - float(np.mean([path.tail(path.value_S) for path in paths]))
    weight = float(np.mean([path.tail(path.weight_S) for path in paths]))
    paid = float(np.mean([np.clip(path.cost_S - LIMIT, 0, None).sum() for path in paths]))
    predicted = "" if setting.predicted is None else f"{setting.predicted:.3f}"
    cells = [
        setting.name, f"{cost:.3f}", predicted, f"{swing:.3f}", f"{100 * above:.0f} %", f"{100 * gap / BEST:+.1f} %",
        f"{weight / OPTIMAL:.2f}", f"{paid:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table(found: list[tuple[Setting, list[Path]]]) -> str:
    """The table in Markdown."""
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*head, *(row(*one) for one in found)])


def write_table(text: str, page: File, marks: tuple[str, str] = MARKS) -> None:
    """Put the table between its marks in the page."""
    before, rest = page.read_text(encoding="utf-8").split(marks[0])
    after = rest.split(marks[1])[1]
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}", encoding="utf-8")


def main() -> None:
    """Run, draw, write."""
    found = [(setting, run(setting)) for setting in settings()]
    text = table(found)
    draw(found, IMAGE)
    write_table(text, PAGE)
    print(f"λ* = {OPTIMAL:.3f}, d = {LIMIT}, σ/√B = {NOISE:.4f}\n{text}\n{IMAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
