"""How often certificates hold where the truth is known, and the tables of it (``benchmarks.toy_certificates``).

``pool -> draws with replacement -> certificates -> shares of bounds that hold``. Nothing is generated or kept here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from csrlhf.constraints import Chance
from csrlhf.constraints.set import Constraints
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.certificate import Evidence, columns_of, make_certificate
from csrlhf.evaluation.settings import AuditSettings, CertificateSettings

THRESHOLD = 0.03


@dataclass(frozen=True)
class Draw:
    """How certificates of a scenario are drawn.

    Attributes:
        policy: whose pool.
        prompts: n.
        labels: m of them have a label; 0 for none.
    """

    policy: str
    prompts: int
    labels: int


@dataclass(frozen=True)
class Outcome:
    """How often the bounds of one statement held.

    Attributes:
        draw: how certificates were drawn.
        statement: which one.
        truth: the pool's own rate.
        nominal: the confidence of each bound.
        replicates: certificates.
        upper: share of them whose upper bound is not below the truth.
        lower: share whose lower bound is not above it.
        median: of the upper bounds.
        verdicts: how many had which verdict; of the statement that decides.
    """

    draw: dict[str, Any]
    statement: str
    truth: float
    nominal: float
    replicates: int
    upper: float
    lower: float
    median: float
    verdicts: dict[str, int]


def resampled(answers: Sequence[Answer], count: int, random: Random) -> list[Answer]:
    """So many independent draws out of a pool, as answers to as many prompts."""
    chosen = random.choices(answers, k=count)
    return [replace(one, id=f"{one.policy}/{i}/0", prompt_id=str(i)) for i, one in enumerate(chosen)]


def certificate(answers: Sequence[Answer], about: dict[str, Any], labels: int, seed: int = 0) -> dict[str, Any]:
    """A certificate of these answers."""
    settings = CertificateSettings(labels="oracle" if labels else None, audit=AuditSettings(fixed=labels or None))
    columns = columns_of(Constraints({"harm": Chance(THRESHOLD)}), answers)
    return make_certificate(Evidence(answers, about["sha256"], about | {"seed": seed}, columns), settings, {})


def truths(answers: Sequence[Answer]) -> dict[str, float]:
    """The pool's own rates: flagged by the cost model, and truly unsafe."""
    flagged = sum(answer.cost_logits["harm"] > 0 for answer in answers) / len(answers)
    unsafe = sum((answer.oracle or {})["unsafe"] for answer in answers) / len(answers)
    return {"flagged": flagged, "unsafe": unsafe}


def key_of(record: dict[str, Any]) -> str | None:
    """A short name of the statements that are counted; None for the others."""
    if "finds unsafe" in record["quantity"] and record["decides"]:
        return "by the cost model"
    if "responses that are truly unsafe" not in record["quantity"]:
        return None
    if record["decides"]:
        return "by labels: audit"
    if "Rogan" in record["method"]:
        return "by labels: Rogan-Gladen"
    return "by labels: PPI, approximate" if "approximate" in record["method"] else "by labels: PPI, exact"


NAIVE = "cost model's bound taken for the truth (control)"


def study(answers: Sequence[Answer], about: dict[str, Any], draw: Draw, replicates: int) -> list[Outcome]:
    """All statements of a scenario."""
    rates = truths(answers)
    seen: dict[str, list[dict[str, Any]]] = {}
    for number in range(replicates):
        random = Random(f"toy_certificates/{draw}/{number}")
        document = certificate(resampled(answers, draw.prompts, random), about, draw.labels, seed=number)
        for record in document["constraints"]["harm"]["statements"]:
            if name := key_of(record):
                seen.setdefault(name, []).append(record)
        if not draw.labels:
            seen.setdefault(NAIVE, []).append(document["constraints"]["harm"]["statements"][0])
    found = []
    for name, records in seen.items():
        truth = rates["flagged" if name == "by the cost model" else "unsafe"]
        count = len(records)  # an approximation is left out where too few labels are unsafe
        uppers = sorted(record["upper"] for record in records)
        verdicts = [record["verdict"] for record in records if record["verdict"]]
        found.append(
            Outcome(
                draw=asdict(draw),
                statement=name,
                truth=truth,
                nominal=records[0]["confidence"],
                replicates=count,
                upper=sum(record["upper"] >= truth for record in records) / count,
                lower=sum(record["lower"] <= truth for record in records) / count,
                median=uppers[len(uppers) // 2],
                verdicts={word: verdicts.count(word) for word in sorted(set(verdicts))},
            )
        )
    return found


MARKS = ("<!-- table: python -m benchmarks.toy_certificates -->", "<!-- end of table -->")


def outcome_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Realised beside nominal coverage, as Markdown."""
    lines = [
        "| policy | prompts | labels | statement | truth | nominal | upper bound held | lower bound held | median "
        "upper bound | certificates |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        draw = one.draw
        lines.append(
            f"| {draw['policy']} | {draw['prompts']} | {draw['labels'] or '-'} | {one.statement} | {one.truth:.2%} | "
            f"{one.nominal:.1%} | {one.upper:.1%} | {one.lower:.1%} | {one.median:.2%} | {one.replicates} |"
        )
    return lines


def case_lines(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """One certificate a line: what was counted, and what it says."""
    lines = [
        "| verdict | prompts | found unsafe | lower bound | upper bound | threshold |",
        "|---|---|---|---|---|---|",
    ]
    for document in documents:
        record = document["constraints"]["harm"]["statements"][0]
        lines.append(
            f"| {document['verdict']} | {document['n']} | {record['events']} | {record['lower']:.2%} | "
            f"{record['upper']:.2%} | {record['threshold']:.0%} |"
        )
    return lines


def write_page_table(page: Path, lines: Sequence[str]) -> None:
    """Puts the tables between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    text = text[: start + len(MARKS[0])] + "\n" + "\n".join(lines) + "\n" + text[end:]
    page.write_text(text, encoding="utf-8")
