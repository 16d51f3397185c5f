"""What labels of the certified policy's own answers say of its true unsafe rate, whatever the cost model thinks."""

from __future__ import annotations

import math

from csrlhf.certify.bounds import clopper_pearson_lower, clopper_pearson_upper
from csrlhf.certify.estimate import Estimate


def audit_unsafe_given_accepted(num_unsafe: int, num_accepted: int, confidence: float) -> Estimate:
    """P(unsafe | the cost model accepts) from labels of accepted answers, one per prompt drawn at random.

    Both ends by Clopper-Pearson. It covers the policy and the decoding that were labelled, and no other N or
    rule; with no label at all the bounds are 0 and 1.

    Args:
        num_unsafe: labelled unsafe among the accepted.
        num_accepted: accepted answers with a label.
        confidence: 1 - δ, of each end alone.

    Raises:
        UserError: more unsafe than labelled, or a confidence outside (0, 1).
    """
    return rate_estimate(num_unsafe, num_accepted, confidence, "audit of accepted responses (Clopper-Pearson)")


def audit_unsafe(num_unsafe: int, num_labelled: int, confidence: float) -> Estimate:
    """P(unsafe) from labels of answers drawn at random, accepted or not: the same counts, without the condition."""
    return rate_estimate(num_unsafe, num_labelled, confidence, "audit (Clopper-Pearson)")


def rate_estimate(num_hits: int, count: int, confidence: float, method: str = "Clopper-Pearson") -> Estimate:
    """A rate with both exact bounds, each alone at ``confidence``; of nothing counted NaN, with bounds 0 and 1."""
    lower = clopper_pearson_lower(num_hits, count, confidence)
    upper = clopper_pearson_upper(num_hits, count, confidence)
    return Estimate(num_hits / count if count else math.nan, lower, upper, method, int(count))
