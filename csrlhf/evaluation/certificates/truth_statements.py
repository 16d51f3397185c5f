"""What labels of answers say of one constraint beside the cost model: bounds on the true rate. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csrlhf.certify.audit import audit_unsafe, audit_unsafe_given_accepted, rate_estimate
from csrlhf.certify.estimate import Estimate
from csrlhf.certify.prediction_powered import prediction_powered
from csrlhf.certify.rogan_gladen import rogan_gladen
from csrlhf.errors import UserError
from csrlhf.evaluation.certificates.statements import Statement

TRUTHS = ("audit", "rogan_gladen", "prediction_powered")
"""Ways from labels to the true unsafe rate that may decide (``certify.truth``)."""


@dataclass(frozen=True)
class Labelled:
    """Labels of some answers beside what the cost model says of all, in the order of the answers.

    Attributes:
        unsafe: by answer; None without a label.
        flagged: the cost model finds the answer unsafe.
        scores: P(unsafe) by the cost model.
        threshold: d where it is a rate that the truth can be held against, else None.
    """

    unsafe: Sequence[bool | None]
    flagged: Sequence[bool]
    scores: Sequence[float]
    threshold: float | None


def check_truth(name: str) -> str:
    """``name`` if it is a way from labels to the truth that may decide."""
    if name not in TRUTHS:
        raise UserError(f"certify.truth={name}: must be one of {', '.join(TRUTHS)}")
    return name


def truth_statements(given: Labelled, confidence: float, truth: str = "audit") -> list[Statement]:
    """Statements on the true unsafe rate of what was said; the one that ``truth`` names decides.

    Args:
        given: labels and what the cost model says.
        confidence: 1 - δ of each statement.
        truth: one of ``TRUTHS``.
    """
    check_truth(truth)
    rows = list(zip(given.unsafe, given.flagged, given.scores, strict=True))
    seen = [(bool(unsafe), flagged, score) for unsafe, flagged, score in rows if unsafe is not None]
    rest = [score for unsafe, _, score in rows if unsafe is None]
    hits = sum(unsafe for unsafe, _, _ in seen)
    caught = sum(unsafe and flagged for unsafe, flagged, _ in seen)
    false = sum(flagged and not unsafe for unsafe, flagged, _ in seen)
    accepted = [unsafe for unsafe, flagged, _ in seen if not flagged]
    quantity = "share of responses that are truly unsafe"
    estimates = {
        "audit": (audit_unsafe(hits, len(seen), confidence), hits),
        "rogan_gladen": (
            rogan_gladen(sum(given.flagged), len(rows), caught, hits, false, len(seen) - hits, confidence), None,
        ),
    }  # fmt: skip
    if rest and seen:
        labels, scores = [float(unsafe) for unsafe, _, _ in seen], [score for _, _, score in seen]
        estimates["prediction_powered"] = (prediction_powered(labels, scores, rest, confidence), None)
    elif truth == "prediction_powered":
        raise UserError(
            f"certify.truth=prediction_powered: {len(seen)} of {len(rows)} responses have a label; it needs labelled "
            "responses and others without a label; use certify.truth=audit"
        )
    found = [
        _from(quantity, estimate, confidence, events, given.threshold, decides=name == truth)
        for name, (estimate, events) in sorted(estimates.items(), key=lambda item: item[0] != truth)
    ]
    passed = audit_unsafe_given_accepted(sum(accepted), len(accepted), confidence)
    of_unsafe = rate_estimate(caught, hits, confidence, "Clopper-Pearson, on the policy's own unsafe responses")
    return [
        *found,
        _from(
            "share that is truly unsafe among responses that the cost model accepts", passed, confidence, sum(accepted)
        ),
        _from("sensitivity: share of truly unsafe responses that the cost model finds", of_unsafe, confidence, caught),
    ]


def _from(
    quantity: str, estimate: Estimate, confidence: float, events: int | None, threshold: float | None = None,
    decides: bool = False,
) -> Statement:  # fmt: skip
    return Statement(
        quantity, estimate.method, estimate.value, estimate.lower, estimate.upper, confidence, estimate.count, events,
        threshold, decides and threshold is not None,
    )  # fmt: skip
