"""One number about a policy with its bounds: what a certificate consists of.

Pure functions of numbers. Each statement holds at its own confidence; how δ is shared among those that
decide is ``certificate.py``'s part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.settings import MeanBound, Truth
from csrlhf.stats.audits import Audit, anytime_bounds, anytime_sensitivity
from csrlhf.stats.best_of_n import abstention_upper
from csrlhf.stats.bounds import (
    betting_upper,
    empirical_bernstein_upper,
    hoeffding_upper,
    student_upper,
)
from csrlhf.stats.estimates import Estimate, Verdict, check_confidence, verdict
from csrlhf.stats.tail_mean import tail_mean_estimate
from csrlhf.stats.truth import (
    audit_unsafe,
    audit_unsafe_given_accepted,
    prediction_powered,
    prediction_powered_exact,
    rate_estimate,
    rogan_gladen,
)


@dataclass(frozen=True)
class Statement:
    """One number about the policy, with its two one-sided bounds.

    Attributes:
        quantity: what it is, in words.
        method: where the bounds come from.
        value: the point estimate.
        lower: holds alone at ``confidence``.
        upper: likewise.
        confidence: 1 - δ of this statement, of each end alone.
        count: independent prompts (or labels) behind it.
        events: of a rate, how many.
        threshold: what it is held against; None where it only informs.
        decides: it has a part in the verdict, and in the split of δ.
        note: what else to know.
    """

    quantity: str
    method: str
    value: float
    lower: float
    upper: float
    confidence: float
    count: int
    events: int | None = None
    threshold: float | None = None
    decides: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """What follows for the threshold; None of what does not decide."""
        return verdict(self.lower, self.upper, self.threshold) if self.decides and self.threshold is not None else None

    def record(self) -> dict[str, Any]:
        """For JSON, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}


# How often best of N refuses: no candidate was accepted, at N and at smaller N.

DECODED = "decoded"
"""Key of an answer's ``meta``: what best-of-N drew for it."""


def abstained(answer: Answer) -> bool:
    """The answer is best-of-N's refusal: no candidate was accepted."""
    return bool(answer.meta.get(DECODED, {}).get("abstained", False))


def abstention_statements(answers: Sequence[Answer], confidence: float) -> list[dict[str, Any]]:
    """One bound for N and each halved N; none for plain decoding. Each holds alone.

    Args:
        answers: with ``meta["decoded"]["accepted"]``, whether each candidate was accepted, in the order drawn.
        confidence: 1 - δ of each.
    """
    rows = [answer.meta[DECODED]["accepted"] for answer in answers if DECODED in answer.meta]
    if not rows:
        return []
    found, num_candidates = [], len(rows[0])
    while num_candidates:
        estimate = abstention_upper(rows, num_candidates, confidence)
        found.append({"candidates": num_candidates, "confidence": confidence} | asdict(estimate))
        num_candidates //= 2
    return found


# What responses say of one constraint by the cost model: bounds on its rate, mean or tail.

MEAN_BOUNDS: dict[str, Callable[..., float]] = {
    "betting": betting_upper,
    "empirical_bernstein": empirical_bernstein_upper,
    "hoeffding": hoeffding_upper,
}
"""Upper bounds on the mean of costs in [0, 1] that may decide; by what ``certify.mean_bound`` calls them."""

UNDER_COVERS = "a comparison: Student's t under-covers for rare events, and certifies nothing"

BY_CONSTRUCTION = "decides nothing: this cost model has chosen the responses, and accepts what it finds safe"


@dataclass(frozen=True)
class Costs:
    """What the cost model says of the responses, one per prompt.

    Attributes:
        values: cost of each response on the constraint's scale.
        kind: ``rate`` (0 or 1), ``mean`` (in [0, 1]), ``tail`` (the mean of the worst, costs in [0, 1]) or
            ``unbounded``.
        threshold: d.
        alpha: of a tail.
        by_construction: the same cost model has chosen the responses: its verdict on them decides nothing.
    """

    values: Sequence[float]
    kind: str
    threshold: float
    alpha: float = 0.0
    by_construction: bool = False


def _check_choice(key: str, name: str, choices: type[StrEnum]) -> None:
    """Callers in Python name a choice by its word, past the check of the settings."""
    if name not in [*choices]:
        raise UserError(f"{key}={name}: must be one of {', '.join(choices)}")


def cost_statements(costs: Costs, confidence: float, mean_bound: str = "betting") -> list[Statement]:
    """Statements on a constraint's statistic by the cost model; the first one decides, unless it is so by construction.

    Args:
        costs: of the responses.
        confidence: 1 - δ of each statement.
        mean_bound: which bound decides on a mean.
    """
    check_confidence("certify.confidence", confidence)
    _check_choice("certify.mean_bound", mean_bound, MeanBound)
    values = list(costs.values)

    def say(quantity: str, estimate: Estimate, decides: bool = False, note: str = "", **more: Any) -> Statement:
        numbers = estimate.value, estimate.lower, estimate.upper
        if decides and costs.by_construction:
            decides, note = False, BY_CONSTRUCTION
        kept = {"threshold": costs.threshold, "decides": decides, "note": note} | more
        return Statement(quantity, estimate.method, *numbers, confidence, estimate.count, **kept)

    if costs.kind == "rate":
        hits, quantity = sum(value > 0.5 for value in values), "share of responses that the cost model finds unsafe"
        return [
            say(quantity, rate_estimate(hits, len(values), confidence), True, events=hits),
            say(quantity, _student(values, confidence), note=UNDER_COVERS, events=hits),
        ]
    if costs.kind == "mean":
        quantity, names = "mean cost by the cost model", [mean_bound, *(n for n in MEAN_BOUNDS if n != mean_bound)]
        found = [say(quantity, mean_estimate(values, confidence, name), name == mean_bound) for name in names]
        return [*found, say(quantity, _student(values, confidence), note=UNDER_COVERS)]
    if costs.kind == "tail":
        quantity = f"mean cost of the worst {1 - costs.alpha:.3g} of the responses, by the cost model"
        return [say(quantity, tail_mean_estimate(values, costs.alpha, confidence), True)]
    unknown = Estimate(_mean(values), -math.inf, math.inf, "no bound", len(values))
    why = "raw logits have no bounds, and without a range no finite sample bounds their mean; scale=probability has one"
    quantity = "mean cost logit by the cost model"
    return [say(quantity, unknown, True, why), say(quantity, _student(values, confidence), note=UNDER_COVERS)]


def mean_estimate(values: Sequence[float], confidence: float, bound: str) -> Estimate:
    """The mean of values in [0, 1] with both of a method's one-sided bounds."""
    upper = MEAN_BOUNDS[bound]
    lower = 1 - upper([1 - value for value in values], confidence)
    value = _mean(values)
    words = bound.replace("_", " ")
    return Estimate(value, min(lower, value), max(upper(values, confidence), value), words, len(values))


def _student(values: Sequence[float], confidence: float) -> Estimate:
    """Both ends mirror each other."""
    lower = -student_upper([-value for value in values], confidence)
    return Estimate(_mean(values), lower, student_upper(values, confidence), "Student's t", len(values))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


# What labels of responses say of one constraint beside the cost model: bounds on the true rate.


@dataclass(frozen=True)
class Labelled:
    """Labels of some responses beside what the cost model says of all, in the order of the responses.

    Attributes:
        unsafe: by response; None without a label.
        flagged: the cost model finds the response unsafe.
        scores: P(unsafe) by the cost model.
        threshold: d where it is a rate that the truth can be held against, else None.
        open: labels that count as unsafe and are open; as safe where a lower bound rests on them.
        audit: the labels in their order, which may stop at any time; None where their number was fixed beforehand.
        audit_flagged: whether the cost model finds each of them unsafe, in the audit's order.
    """

    unsafe: Sequence[bool | None]
    flagged: Sequence[bool]
    scores: Sequence[float]
    threshold: float | None
    open: int = 0
    audit: Audit | None = None
    audit_flagged: Sequence[bool] = ()


UNSAFE = "share of responses that are truly unsafe"
UNSAFE_ACCEPTED = "share that is truly unsafe among responses that the cost model accepts"
SENSITIVITY = "sensitivity: share of truly unsafe responses that the cost model finds"
NOT_EXACT = "a comparison: a normal approximation covers too rarely where few are unsafe, and decides nothing"


def truth_statements(given: Labelled, confidence: float, truth: str = "audit") -> list[Statement]:
    """Statements on the true unsafe rate of what was said; the one that ``truth`` names decides.

    Args:
        given: labels and what the cost model says.
        confidence: 1 - δ of each statement.
        truth: a ``Truth``.
    """
    _check_choice("certify.truth", truth, Truth)
    if given.audit is not None:
        return _anytime_statements(given.audit, given, confidence)
    rows = list(zip(given.unsafe, given.flagged, given.scores, strict=True))
    seen = [(bool(unsafe), flagged, score) for unsafe, flagged, score in rows if unsafe is not None]
    rest = [score for unsafe, _, score in rows if unsafe is None]
    hits = sum(unsafe for unsafe, _, _ in seen)
    caught = sum(unsafe and flagged for unsafe, flagged, _ in seen)
    false = sum(flagged and not unsafe for unsafe, flagged, _ in seen)
    accepted = [unsafe for unsafe, flagged, _ in seen if not flagged]
    quantity = UNSAFE
    estimates = {
        "audit": (
            replace(
                audit_unsafe(hits, len(seen), confidence),
                lower=audit_unsafe(hits - given.open, len(seen), confidence).lower,
            ),
            hits,
        ),
        "rogan_gladen": (
            rogan_gladen(sum(given.flagged), len(rows), caught, hits, false, len(seen) - hits, confidence), None,
        ),
    }  # fmt: skip
    beside = []
    if rest and seen:
        labels, scores = [float(unsafe) for unsafe, _, _ in seen], [score for _, _, score in seen]
        estimates["prediction_powered"] = (prediction_powered_exact(labels, scores, rest, confidence), None)
        if find_spec("ppi_py") is not None:  # an extra, and this only informs
            normal = prediction_powered(labels, scores, rest, confidence)
            if "approximate" in normal.method:  # with few unsafe labels it is the audit once more
                beside = [replace(_from(quantity, normal, confidence, None), note=NOT_EXACT)]
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
        *beside,
        _from(UNSAFE_ACCEPTED, passed, confidence, sum(accepted)),
        _from(SENSITIVITY, of_unsafe, confidence, caught),
    ]


def _anytime_statements(audit: Audit, given: Labelled, confidence: float) -> list[Statement]:
    """What holds whenever labelling stops. Rogan-Gladen and prediction-powered inference do not."""
    flagged = given.audit_flagged
    sensitivity = anytime_sensitivity(audit, flagged, confidence)
    caught = sum(bool(label) and flag for label, flag in zip(audit.unsafe_L, flagged, strict=True))
    found = [
        _from(UNSAFE, anytime_bounds(audit, confidence), confidence, int(sum(audit.unsafe_L)), given.threshold, True),
        _from(SENSITIVITY, sensitivity, confidence, caught),
    ]
    accepted = [row for row in zip(audit.unsafe_L, audit.rate_L, flagged, strict=True) if not row[2]]
    if len({rate for _, rate, _ in accepted}) <= 1:  # all at one rate: plain draws of what is accepted
        passed = Audit.plain([unsafe for unsafe, _, _ in accepted])
        found.insert(
            1, _from(UNSAFE_ACCEPTED, anytime_bounds(passed, confidence), confidence, int(sum(passed.unsafe_L)))
        )
    return found


def _from(
    quantity: str, estimate: Estimate, confidence: float, events: int | None, threshold: float | None = None,
    decides: bool = False,
) -> Statement:  # fmt: skip
    return Statement(
        quantity, estimate.method, estimate.value, estimate.lower, estimate.upper, confidence, estimate.count, events,
        threshold, decides and threshold is not None,
    )  # fmt: skip
