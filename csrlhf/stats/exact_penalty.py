"""The exact-penalty diagnostic: is the fixed λ above the λ* at which the penalty's optimum keeps the constraint?

It says something about the optimum of training, and nothing about the policy at hand: it is never the certificate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from csrlhf.errors import UserError
from csrlhf.stats.estimates import Estimate
from csrlhf.stats.lambda_star import SLATER, dual_tail, duty_cycle_estimate, frontier_slope, slater_bound

__all__ = ["ExactPenalty", "dual_tail", "duty_cycle_estimate", "exact_penalty", "frontier_slope", "slater_bound"]

MARGIN = 1.2
"""λ must be this many times the upper end of λ*."""

LARGEST_DUTY = 0.9
"""A gate that is open more often cannot be told from one that never closes."""


@dataclass(frozen=True)
class ExactPenalty:
    """The diagnostic.

    Attributes:
        multiplier: λ.
        estimates: of λ*, by method; the second of one method is "... (2)".
        upper: λ*_U, the largest upper end of the estimates, or the Slater bound where that is smaller.
        epsilon: ``δ_opt / (λ - λ*_U)``: a policy short of the penalised optimum by δ_opt violates by no more; infinite
            for λ <= λ*_U, None where δ_opt is not known.
        crude: ``span(r) / λ``, the paper's: needs no λ*; None where the span is not known.
        duty: late share of open gates, None where not known.
        certified: the certificate's verdict on the violation rate is CERTIFIED.
        passed: λ >= 1.2 λ*_U, duty < 0.9, certified, and two methods at least.
        reasons: in words, why not.
    """

    multiplier: float
    estimates: dict[str, Estimate]
    upper: float
    epsilon: float | None
    crude: float | None
    duty: float | None
    certified: bool
    passed: bool
    reasons: tuple[str, ...]


def exact_penalty(
    multiplier: float,
    estimates: Sequence[Estimate],
    duty: float | None,
    certified: bool,
    suboptimality: float | None = None,
    reward_span: float | None = None,
) -> ExactPenalty:
    """Put the estimates together and apply the rule.

    Args:
        multiplier: the run's fixed λ.
        estimates: of λ*.
        duty: late share of open gates of the run itself; None is a reason not to pass.
        certified: whether the violation rate is certified.
        suboptimality: δ_opt, how far the run may be from the penalised optimum.
        reward_span: ``sup r - inf r``.
    """
    for name, value in (("multiplier", multiplier), ("suboptimality", suboptimality), ("reward_span", reward_span)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UserError(f"{name}={value}: must be a finite number, 0 or more")
    if multiplier == 0:
        raise UserError("multiplier=0: without a penalty there is nothing to diagnose")
    if duty is not None and not 0 <= duty <= 1:
        raise UserError(f"duty={duty}: a share of iterations lies in [0, 1]")
    read = [estimate.upper for estimate in estimates if estimate.method != SLATER]
    slater = [estimate.upper for estimate in estimates if estimate.method == SLATER]
    upper = min([max(read, default=math.inf), *slater])
    methods = {estimate.method.split(" from ")[0] for estimate in estimates}
    reasons = []
    if len(methods) < 2:
        reasons.append(f"λ* is estimated in {len(methods)} way{'' if len(methods) == 1 else 's'}; two are needed")
    if not multiplier >= MARGIN * upper:
        reasons.append(f"λ = {multiplier:g} is below {MARGIN} λ*_U = {MARGIN * upper:.3g}")
    if duty is None:
        reasons.append("the run's duty cycle is not known")
    elif duty >= LARGEST_DUTY:
        reasons.append(f"the gate was open in {duty:.2g} of the late iterations; less than {LARGEST_DUTY} is needed")
    if not certified:
        reasons.append("the violation rate is not certified")
    epsilon = None
    if suboptimality is not None:
        epsilon = suboptimality / (multiplier - upper) if multiplier > upper else math.inf
    return ExactPenalty(
        multiplier=multiplier,
        estimates=_named(estimates),
        upper=upper,
        epsilon=epsilon,
        crude=None if reward_span is None else reward_span / multiplier,
        duty=duty,
        certified=certified,
        passed=not reasons,
        reasons=tuple(reasons),
    )


def _named(estimates: Sequence[Estimate]) -> dict[str, Estimate]:
    """Two runs may be read from the same iteration on: neither is to be lost."""
    named: dict[str, Estimate] = {}
    for estimate in estimates:
        same = sum(other.method == estimate.method for other in named.values())
        named[estimate.method + (f" ({same + 1})" if same else "")] = estimate
    return named
