"""The coverage study's table, realised beside nominal, between its marks in docs/explanation/certificates.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.certificates.world import Outcome

MARKS = ("<!-- table: python -m benchmarks.coverage -->", "<!-- end of table -->")
COLUMNS = ("world", "bound", "n", "1 - δ", "coverage", "truth", "mean bound", "outcome")


def outcome_word(outcome: Outcome, num_scenarios: int) -> str:
    """What the test says, and in capitals where it should not."""
    if outcome.kind == "approximate":
        return "approximate: too rarely" if outcome.under_covers(num_scenarios) else "approximate: often enough"
    if outcome.kind == "control":
        return "fails, as it must" if outcome.under_covers(num_scenarios) else "CONTROL DID NOT FAIL"
    return "UNDER-COVERS" if outcome.under_covers(num_scenarios) else "holds"


def row(outcome: Outcome, num_scenarios: int) -> str:
    """A line of the table."""
    cells = [
        outcome.world, outcome.bound_name, f"{outcome.count}", f"{1 - outcome.delta:g}", f"{outcome.coverage:.4f}",
        f"{outcome.truth:.4f}", f"{outcome.bound:.4f}", outcome_word(outcome, num_scenarios),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table(outcomes: Sequence[Outcome]) -> str:
    """The table in Markdown, negative controls last."""
    ordered = sorted(outcomes, key=lambda outcome: ("holds", "approximate", "control").index(outcome.kind))
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*head, *(row(outcome, len(outcomes)) for outcome in ordered)])


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence above the table."""
    broken = [outcome for outcome in outcomes if not outcome.as_expected(len(outcomes))]
    kinds = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in ("holds", "control", "approximate")}
    fewest = min(outcome.replicates for outcome in outcomes)
    verdict = "all came out as they must" if not broken else f"{len(broken)} did not come out as they must"
    return (
        f"{len(outcomes)} scenarios of {fewest:,} replicates: {kinds['holds']} bounds that must hold, "
        f"{kinds['control']} negative controls that must not, {kinds['approximate']} approximate; {verdict}."
    )


def write_table(text: str, page: Path) -> None:
    """Put the text between its marks in the page."""
    before, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")
