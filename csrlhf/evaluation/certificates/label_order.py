"""The order in which a certificate's responses are labelled, and with which probability each is to be labelled.

Place and choice are hashes of seed and id: nobody chose them, and nobody who labels from the beginning can have picked
responses. What the cost model flags is always labelled (less often where it has flagged many before), the rest at a
rate that is fixed when the responses are drawn. A response's rate depends on nothing behind it in the order.
``label_order.txt`` holds what is to be labelled, with all that a labelling program needs to say where the audit stands.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.statements import abstained
from csrlhf.evaluation.settings import AuditSettings
from csrlhf.stats.audit_rates import accepted_rate, labelling_rates
from csrlhf.stats.audits import Audit

FILE = "label_order.txt"
KEY = "audit"
"""Of the design in the provenance of kept responses."""


@dataclass(frozen=True)
class Design:
    """Which responses are labelled.

    Attributes:
        rate: probability with which a response is labelled that the cost model accepts.
        score: P(unsafe) by the cost model, of any constraint, above which a response counts as flagged.
        refusals: refusals of best of N stand in the order; otherwise they count as safe without a label.
    """

    rate: float = 1.0
    score: float = 0.5
    refusals: bool = True


def new_design(audit: AuditSettings, count: int, thresholds: Sequence[float], confidence: float) -> Design:
    """The design for responses that are about to be drawn.

    Args:
        audit: what is set.
        count: responses.
        thresholds: of the constraints that labels can be held against; none leaves every response to be labelled.
        confidence: of the certificate.
    """
    rate = audit.rate
    if rate is None:
        rate = accepted_rate(count, min(thresholds), confidence) if thresholds and audit.fixed is None else 1.0
    return Design(rate, Design.score if audit.score is None else audit.score, refusals=audit.fixed is not None)


def design_of(audit: AuditSettings, about: Mapping[str, Any]) -> Design:
    """The design of kept responses: what is set, else what was fixed when they were drawn, else all alike."""
    kept = about.get(KEY, {}) if audit.fixed is None else {}
    rate, score = kept.get("rate", 1.0), kept.get("score", Design.score)
    return Design(
        rate if audit.rate is None else audit.rate,
        score if audit.score is None else audit.score,
        refusals=audit.fixed is not None,
    )


def label_order(ids: Sequence[str], seed: int) -> list[str]:
    """All responses in random order: as good as random, and the same for everybody."""
    return sorted(ids, key=lambda identifier: hashlib.sha256(f"{seed}/{identifier}".encode()).digest())


def _chance(identifier: str, seed: int) -> float:
    """In [0, 1), as good as uniform, and independent of the place."""
    digest = hashlib.sha256(f"{seed}/labelled/{identifier}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 256**7


@dataclass(frozen=True)
class Row:
    """A response to label.

    Attributes:
        id: its own.
        place: among all responses in random order, from 1.
        rate: probability with which it was chosen.
    """

    id: str
    place: int
    rate: float


@dataclass(frozen=True)
class LabelOrder:
    """What is to be labelled, first to last.

    Attributes:
        rows: in the order.
        total: responses, with those that are not labelled.
        design: how the rows were chosen.
        shares: of all responses that are labelled at each rate.
    """

    rows: Sequence[Row]
    total: int
    design: Design
    shares: Mapping[float, float] = field(default_factory=dict)

    def audit(self, unsafe: Mapping[str, bool], surely: Mapping[str, bool] | None = None) -> Audit:
        """The labels so far.

        Args:
            unsafe: by id, for the first rows of the order.
            surely: the same with open questions as safe; None where nothing is open.
        """
        rows = self.rows[: len(unsafe)]
        passed = self.rows[len(rows)].place - 1 if len(rows) < len(self.rows) else self.total
        return Audit(
            [unsafe[row.id] for row in rows],
            [row.rate for row in rows],
            [row.place for row in rows],
            passed,
            self.design.rate,
            None if surely is None else [surely[row.id] for row in rows],
        )


def order_of(answers: Sequence[Answer], seed: int, design: Design) -> LabelOrder:
    """The order of these responses: a function of their ids, scores and the seed alone."""
    by_id, limit = {answer.id: answer for answer in answers}, _logit(design.score)
    ids = label_order(list(by_id), seed)
    flagged = [max(by_id[one].cost_logits.values(), default=-math.inf) > limit for one in ids]
    rates = labelling_rates(flagged, design.rate).tolist()
    if not design.refusals:
        rates = [0.0 if abstained(by_id[one]) else rate for one, rate in zip(ids, rates, strict=True)]
    places = enumerate(zip(ids, rates, strict=True), start=1)
    rows = [Row(one, place, rate) for place, (one, rate) in places if _chance(one, seed) < rate]
    counts = Counter(rate for rate in rates if rate)
    return LabelOrder(rows, len(ids), design, {rate: number / len(ids) for rate, number in sorted(counts.items())})


def _logit(score: float) -> float:
    if score in (0.0, 1.0):
        return math.inf if score else -math.inf
    return math.log(score / (1 - score))


# The file.

COLUMNS = "# id\tplace among all responses\tprobability with which it was to be labelled"


@dataclass(frozen=True)
class OrderFile:
    """``label_order.txt``.

    Attributes:
        order: what is to be labelled.
        confidence: of the certificate, 1 - δ.
        num_runs: that share δ.
        thresholds: d of every constraint that labels can be held against, by name; empty in a file of an old version.
        constraints: how many constraints the certificate decides by a cost model.
        fixed: how many labels were fixed beforehand; None where labelling may stop at any time.
    """

    order: LabelOrder
    confidence: float = 0.95
    num_runs: int = 1
    thresholds: Mapping[str, float] = field(default_factory=dict)
    constraints: int = 1
    fixed: int | None = None


def write_order(path: Path, file: OrderFile) -> None:
    """Writes ids with place and rate, behind a line of JSON with all else."""
    head = {key: value for key, value in asdict(file).items() if key != "order"}
    design, shares = asdict(file.order.design), sorted(file.order.shares.items())
    head |= {"total": file.order.total, "design": design, "shares": shares}
    rows = [f"{row.id}\t{row.place}\t{row.rate:g}" for row in file.order.rows]
    path.write_text("\n".join([f"# {json.dumps(head)}", COLUMNS, *rows, ""]), encoding="utf-8")


def read_order(path: Path) -> OrderFile:
    """The file that :func:`write_order` wrote; one of an old version has ids alone, every response in its order.

    Raises:
        UserError: a line is broken; the message names it.
    """
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    try:
        if not lines[0].startswith("# {"):
            rows = [Row(line, place, 1.0) for place, line in enumerate(lines, start=1)]
            return OrderFile(LabelOrder(rows, len(rows), Design()))
        head = json.loads(lines[0][2:])
        rows = [_row(line) for line in lines[2:]]
        total, design, shares = head.pop("total"), Design(**head.pop("design")), dict(head.pop("shares"))
        return OrderFile(LabelOrder(rows, total, design, shares), **head)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: is not as stage=certify wrote it ({error}); write it again with "
            "stage=certify certify.outputs=.../answers.jsonl"
        ) from error


def _row(line: str) -> Row:
    identifier, place, rate = line.rsplit("\t", 2)
    return Row(identifier, int(place), float(rate))
