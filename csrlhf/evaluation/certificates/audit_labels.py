"""Labels for a certificate: whose, for which constraint, and whether they are of a random sample.

The order in which answers ought to be labelled is a hash of seed and id: nobody chose it, and nobody who labels from
its beginning can have picked answers. Labels of other answers count too, and the certificate then says what is assumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import read_labels
from csrlhf.evaluation.answers.records import Answer

ORACLE = "oracle"
VERDICTS = {"harm": "unsafe", "privacy": "privacy"}
"""What an oracle's verdict calls the violation of a constraint."""

LabelSpec = str | Mapping[str, str] | None
"""A file, ``oracle``, or one of these by constraint."""


@dataclass(frozen=True)
class AuditLabels:
    """Judgements of answers on one constraint.

    Attributes:
        unsafe: by answer id.
        source: whose they are, in words.
        sha256: of their file; None for an oracle's.
        raters: how many people gave them.
        random: they are the first answers of ``label_order``.
    """

    unsafe: Mapping[str, bool]
    source: str
    sha256: str | None
    raters: int
    random: bool


def label_order(ids: Sequence[str], seed: int) -> list[str]:
    """The answers in the order in which to label them: as good as random, and the same for everybody."""
    return sorted(ids, key=lambda identifier: hashlib.sha256(f"{seed}/{identifier}".encode()).digest())


def check_label_files(spec: LabelSpec) -> None:
    """Raises where a file of labels is missing or broken: before answers are drawn, not after."""
    for source in [spec] if isinstance(spec, str) else (spec or {}).values():
        if source != ORACLE:
            read_labels(source)


def audit_labels(
    spec: LabelSpec, constraints: Sequence[str], answers: Sequence[Answer], seed: int, num_labels: int | None = None
) -> dict[str, AuditLabels]:
    """The labels of each constraint that has any.

    Args:
        spec: ``certify.labels``.
        constraints: names; a file or ``oracle`` alone is for the only one, ``oracle`` also for several.
        answers: what may be labelled.
        seed: of the order.
        num_labels: how many an oracle gives; None for all.

    Raises:
        UserError: a file is missing or broken, names unknown answers, or does not say which constraint it is for.
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
    order = label_order([answer.id for answer in answers], seed)
    return {name: _labels(name, source, answers, order, num_labels) for name, source in sources.items()}


def _check_number(spec: LabelSpec, num_labels: int | None) -> None:
    given = [spec] if isinstance(spec, str) else list((spec or {}).values())
    if num_labels is not None and set(given) != {ORACLE}:
        raise UserError(
            f"certify.num_labels={num_labels}: says how many responses an oracle labels, and certify.labels={spec} "
            "is none; leave it null: all labels of a file count"
        )
    if num_labels is not None and num_labels < 1:
        raise UserError(f"certify.num_labels={num_labels}: must be >= 1, or null for all responses")


def _labels(
    name: str, source: str, answers: Sequence[Answer], order: Sequence[str], num_labels: int | None
) -> AuditLabels:
    if source == ORACLE:
        return _of_oracle(name, answers, order, num_labels)
    labels = read_labels(source)
    labels.check_ids(order, "the certificate's responses")
    unsafe = labels.majority()
    digest = hashlib.sha256(Path(source).expanduser().read_bytes()).hexdigest()
    return AuditLabels(unsafe, str(source), digest, len(labels.raters), set(order[: len(unsafe)]) == set(unsafe))


def _of_oracle(name: str, answers: Sequence[Answer], order: Sequence[str], num_labels: int | None) -> AuditLabels:
    if name not in VERDICTS:
        raise UserError(f"certify.labels=oracle: an oracle knows of {', '.join(VERDICTS)}, not of {name}; name a file")
    if num_labels is not None and num_labels > len(answers):
        raise UserError(f"certify.num_labels={num_labels}: there are {len(answers)} responses; ask for fewer, or null")
    verdicts = {answer.id: answer.oracle for answer in answers}
    missing = next((identifier for identifier, verdict in verdicts.items() if verdict is None), None)
    if missing is not None:
        raise UserError(
            f"certify.labels=oracle: no oracle judged response {missing!r}; only a generated world (data=toy) has "
            "one, and it judges its own prompts. Name a file of labels"
        )
    chosen = order if num_labels is None else order[:num_labels]
    unsafe = {identifier: bool((verdicts[identifier] or {})[VERDICTS[name]]) for identifier in chosen}
    return AuditLabels(unsafe, "the oracle of the generated world", None, 1, True)
