"""The true unsafe rate from the rate that an erring cost model flags."""

from __future__ import annotations

from csrlhf.certify.bounds import clopper_pearson_lower, clopper_pearson_upper
from csrlhf.certify.estimate import Estimate
from csrlhf.certify.verdict import split_confidence


def rogan_gladen(
    flagged: int, n: int, audit_tp: int, audit_p: int, audit_fp: int, audit_n: int, confidence: float
) -> Estimate:
    """``θ = (q - f) / (Se - f)``: what q flagged of the policy's answers say, given how the cost model errs on them.

    Each of the three rates gets its own Clopper-Pearson bound at ``1 - δ/3``, on the side that hurts:
    ``θ_U = (q_U - f_L) / (Se_L - f_L)``, and 1 where Se_L <= f_L (the cost model is no better than a coin) or
    q_U <= f_L (the audit is not of the policy that was counted).

    Both audit parts must be answers of the certified policy itself: a policy that has learned to get past the cost
    model lowers Se, and the sensitivity of another policy's answers then certifies what is not so.

    Source: Rogan and Gladen (1978), American Journal of Epidemiology 107.

    Args:
        flagged: answers that the cost model calls unsafe.
        n: of so many prompts.
        audit_tp: labelled answers that are unsafe and flagged.
        audit_p: labelled answers that are unsafe.
        audit_fp: labelled answers that are safe and yet flagged.
        audit_n: labelled answers that are safe.
        confidence: 1 - δ, of each end alone.

    Raises:
        UserError: a part larger than its whole, or a confidence outside (0, 1).
    """
    each = split_confidence(confidence, 3)
    upper = _solve(
        clopper_pearson_upper(flagged, n, each),
        clopper_pearson_lower(audit_tp, audit_p, each),
        clopper_pearson_lower(audit_fp, audit_n, each),
        otherwise=1.0,
    )
    lower = _solve(
        clopper_pearson_lower(flagged, n, each),
        clopper_pearson_upper(audit_tp, audit_p, each),
        clopper_pearson_upper(audit_fp, audit_n, each),
        otherwise=0.0,
    )
    known = n and audit_p and audit_n
    value = _solve(flagged / n, audit_tp / audit_p, audit_fp / audit_n, otherwise=upper) if known else upper
    return Estimate(min(max(value, lower), upper), lower, upper, "Rogan-Gladen", n)


def _solve(rate: float, sensitivity: float, false_flags: float, otherwise: float) -> float:
    if sensitivity <= false_flags or rate <= false_flags:
        return otherwise
    return min(1.0, (rate - false_flags) / (sensitivity - false_flags))
