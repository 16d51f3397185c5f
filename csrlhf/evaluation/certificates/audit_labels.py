"""Labels for a certificate: whose, for which constraint, and which of them count.

What counts is the beginning of ``label_order.txt``, without gaps: there nobody chose what to label. Labels behind a
gap, or of responses that do not stand there, are left out, and counted. Who judged what must not depend on what was
found, so a rater's responses follow one another, and a decision called ``adjudicated`` settles a disagreement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import ADJUDICATED, Labels, read_labels
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.label_order import LabelOrder

ORACLE = "oracle"
VERDICTS = {"harm": "unsafe", "privacy": "privacy"}
"""What an oracle's verdict calls the violation of a constraint."""

LabelSpec = str | Mapping[str, str] | None
"""A file, ``oracle``, or one of these by constraint."""


@dataclass(frozen=True)
class AuditLabels:
    """Judgements of answers on one constraint.

    Attributes:
        unsafe: by answer id, for the first of the order; an open question counts as unsafe.
        surely: the same with open questions as safe.
        source: whose they are, in words.
        sha256: of their file; None for an oracle's.
        raters: how many people gave them.
        ignored: labelled answers that do not count.
    """

    unsafe: Mapping[str, bool]
    surely: Mapping[str, bool]
    source: str
    sha256: str | None = None
    raters: int = 1
    ignored: int = 0

    @property
    def open(self) -> int:
        """How many are open: raters disagree without a decision, or cannot tell."""
        return sum(self.unsafe[one] != self.surely[one] for one in self.unsafe)


def check_label_files(spec: LabelSpec) -> None:
    """Raises where a file of labels is missing or broken: before answers are drawn, not after."""
    for source in [spec] if isinstance(spec, str) else (spec or {}).values():
        if source != ORACLE:
            read_labels(source)


def audit_labels(
    spec: LabelSpec,
    constraints: Sequence[str],
    answers: Sequence[Answer],
    order: LabelOrder,
    num_labels: int | None = None,
    fixed: int | None = None,
) -> dict[str, AuditLabels]:
    """The labels of each constraint that has any.

    Args:
        spec: ``certify.labels``.
        constraints: names; a file or ``oracle`` alone is for the only one, ``oracle`` also for several.
        answers: what may be labelled.
        order: in which.
        num_labels: how many an oracle gives; None for all that stand in the order, or ``fixed``.
        fixed: how many labels were fixed beforehand: so many count, no fewer and no more.

    Raises:
        UserError: a file is missing or broken, names unknown answers, does not say which constraint it is for, does not
            begin where the order begins, or has judgements that were chosen.
    """
    if spec is None or num_labels is not None:
        _check_number(spec, num_labels)
    if spec is None:
        return {}
    if isinstance(spec, str) and spec != ORACLE and len(constraints) > 1:
        raise UserError(
            f"certify.labels={spec}: a file judges one constraint, and there are {', '.join(constraints)}; say which, "
            f"certify.labels={{{constraints[0]}: {spec}}}"
        )
    sources = dict.fromkeys(constraints, spec) if isinstance(spec, str) else dict(spec)
    unknown = [name for name in sources if name not in constraints]
    if unknown:
        raise UserError(f"certify.labels: names {unknown[0]}; the constraints are {', '.join(constraints)}")
    if fixed is not None and fixed > len(order.rows):
        raise UserError(f"certify.audit.fixed={fixed}: there are {len(order.rows)} responses to label; fix fewer")
    found = {
        name: _of_oracle(name, answers, order, num_labels or fixed)
        if source == ORACLE
        else counted(read_labels(source), order, source, [answer.id for answer in answers])
        for name, source in sources.items()
    }
    return found if fixed is None else {name: _first(labels, fixed) for name, labels in found.items()}


def _check_number(spec: LabelSpec, num_labels: int | None) -> None:
    given = [spec] if isinstance(spec, str) else list((spec or {}).values())
    if num_labels is not None and set(given) != {ORACLE}:
        raise UserError(
            f"certify.num_labels={num_labels}: says how many responses an oracle labels, and certify.labels={spec} "
            "is none; leave it null: all labels of a file count"
        )
    if num_labels is not None and num_labels < 1:
        raise UserError(f"certify.num_labels={num_labels}: must be >= 1, or null for all of label_order.txt")


def counted(labels: Labels, order: LabelOrder, source: str, known: Sequence[str] | None = None) -> AuditLabels:
    """What counts of a file's labels: the beginning of the order, without gaps.

    Args:
        labels: of the file.
        order: in which they were to be given.
        source: the file.
        known: all responses; None does not compare.

    Raises:
        UserError: none counts, or some were chosen.
    """
    if known is not None:
        labels.check_ids(known, "the certificate's responses")
    check_raters(labels, order, source)
    chosen = [row.id for row in takewhile(lambda row: row.id in labels.by_id, order.rows)]
    if not chosen:
        raise UserError(
            f"certify.labels={source}: none of its {len(labels.by_id)} responses begins label_order.txt"
            + (f"; label {order.rows[0].id!r} and those behind it" if order.rows else ", which is empty")
            + ", with python -m csrlhf.label. (Another order was made with other certify.audit.rate or score.)"
        )
    majority = labels.majority()
    return AuditLabels(
        {one: majority[one] for one in chosen},
        {one: labels.surely_unsafe(one) for one in chosen},
        str(source),
        hashlib.sha256(Path(source).expanduser().read_bytes()).hexdigest(),
        len(labels.raters),
        len(labels.by_id) - len(chosen),
    )


def check_raters(labels: Labels, order: LabelOrder, source: str) -> None:
    """Raises where a second opinion, or a decision, was asked for only on chosen responses."""
    counts = [row.id for row in takewhile(lambda row: row.id in labels.by_id, order.rows)]
    for rater in labels.raters:
        judged = [place for place, one in enumerate(counts) if rater in labels.by_id[one]]
        gap = next((one for one, after in pairwise(judged) if after != one + 1), None)
        if gap is not None:
            raise UserError(
                f"{source}: {rater} judged {counts[gap]!r} and not the next one of label_order.txt, "
                f"{counts[gap + 1]!r}, but later ones: opinions on chosen responses bias an audit; let {rater} judge "
                f"what is between (python -m csrlhf.label ... --rater {rater}), or take their later rows out"
            )
    for one in counts:
        given = labels.by_id[one]
        others = {unsafe for rater, unsafe in given.items() if rater != ADJUDICATED}
        if ADJUDICATED in given and len(others) == 1 and given[ADJUDICATED] not in others:
            raise UserError(
                f"{source}: {ADJUDICATED} overrules {one!r}, on which nobody disagreed: a decision that is asked for "
                "on chosen responses biases an audit; take that row out, or let a second rater judge all responses"
            )


def _first(labels: AuditLabels, fixed: int) -> AuditLabels:
    """Exactly so many."""
    if len(labels.unsafe) < fixed:
        raise UserError(
            f"certify.audit.fixed={fixed}: {len(labels.unsafe)} of the first {fixed} responses of label_order.txt are "
            f"labelled in {labels.source}; label the rest, or leave certify.audit.fixed null, for bounds that hold at "
            "any time"
        )
    chosen = list(labels.unsafe)[:fixed]
    unsafe, surely = ({one: given[one] for one in chosen} for given in (labels.unsafe, labels.surely))
    ignored = labels.ignored + len(labels.unsafe) - fixed
    return AuditLabels(unsafe, surely, labels.source, labels.sha256, labels.raters, ignored)


def _of_oracle(name: str, answers: Sequence[Answer], order: LabelOrder, num_labels: int | None) -> AuditLabels:
    if name not in VERDICTS:
        raise UserError(f"certify.labels=oracle: an oracle knows of {', '.join(VERDICTS)}, not of {name}; name a file")
    if num_labels is not None and num_labels > len(order.rows):
        raise UserError(
            f"certify.num_labels={num_labels}: there are {len(order.rows)} responses to label (label_order.txt); ask "
            "for fewer, or null"
        )
    verdicts = {answer.id: answer.oracle for answer in answers}
    missing = next((identifier for identifier, verdict in verdicts.items() if verdict is None), None)
    if missing is not None:
        raise UserError(
            f"certify.labels=oracle: no oracle judged response {missing!r}; only a generated world (data=toy) has "
            "one, and it judges its own prompts. Name a file of labels"
        )
    chosen = [row.id for row in order.rows[:num_labels]]
    unsafe = {identifier: bool((verdicts[identifier] or {})[VERDICTS[name]]) for identifier in chosen}
    return AuditLabels(unsafe, unsafe, "the oracle of the generated world")
