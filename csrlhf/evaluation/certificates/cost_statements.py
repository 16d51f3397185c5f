"""What answers say of one constraint by the cost model: bounds on its rate, mean or tail. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from csrlhf.certify.audit import rate_estimate
from csrlhf.certify.checks import check_confidence
from csrlhf.certify.estimate import Estimate
from csrlhf.certify.mean_bounds import betting_upper, empirical_bernstein_upper, hoeffding_upper, student_upper
from csrlhf.errors import UserError
from csrlhf.evaluation.certificates.statements import Statement
from csrlhf.evaluation.certificates.tail_mean import tail_mean_estimate

MEAN_BOUNDS: dict[str, Callable[..., float]] = {
    "betting": betting_upper,
    "empirical_bernstein": empirical_bernstein_upper,
    "hoeffding": hoeffding_upper,
}
"""Upper bounds on the mean of costs in [0, 1] that may decide; by what ``certify.mean_bound`` calls them."""

UNDER_COVERS = "a comparison: Student's t under-covers for rare events, and certifies nothing"


@dataclass(frozen=True)
class Costs:
    """What the cost model says of the answers, one per prompt.

    Attributes:
        values: cost of each answer on the constraint's scale.
        kind: ``rate`` (0 or 1), ``mean`` (in [0, 1]), ``tail`` (the mean of the worst, costs in [0, 1]) or
            ``unbounded``.
        threshold: d.
        alpha: of a tail.
    """

    values: Sequence[float]
    kind: str
    threshold: float
    alpha: float = 0.0


def check_mean_bound(name: str) -> str:
    """``name`` if it is a bound that may decide."""
    if name not in MEAN_BOUNDS:
        raise UserError(f"certify.mean_bound={name}: must be one of {', '.join(MEAN_BOUNDS)}")
    return name


def cost_statements(costs: Costs, confidence: float, mean_bound: str = "betting") -> list[Statement]:
    """Statements on a constraint's statistic by the cost model; the first one decides.

    Args:
        costs: of the answers.
        confidence: 1 - δ of each statement.
        mean_bound: which bound decides on a mean.
    """
    check_confidence("certify.confidence", confidence)
    check_mean_bound(mean_bound)
    values = list(costs.values)

    def say(quantity: str, estimate: Estimate, decides: bool = False, note: str = "", **more: Any) -> Statement:
        numbers = estimate.value, estimate.lower, estimate.upper
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
