"""The true unsafe rate, from people's labels and a cost model that errs (certificates.md, 2).

Three ways: an audit of labelled answers alone, Rogan and Gladen's correction of the flagged rate, and
prediction-powered inference. All return an :class:`Estimate`; which one decides is ``certify.truth``.

Legend of suffixes: M answers with a label, N answers without.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.errors import UserError
from csrlhf.stats.bounds import betting_upper, clopper_pearson_lower, clopper_pearson_upper
from csrlhf.stats.estimates import Estimate, bounded_array, check_confidence, split_confidence, truth_array

# Audit: labels of the certified policy's own answers, whatever the cost model thinks.


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


# Rogan and Gladen: from the rate that an erring cost model flags.


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


LEAST_POSITIVES = 20
"""Fewer labels "unsafe" than these, and the normal approximation is not even tried."""


def prediction_powered(
    labels: ArrayLike, predictions_labelled: ArrayLike, predictions_all: ArrayLike, confidence: float
) -> Estimate:
    """Prediction-powered inference: ``λ mean(f) + mean(y - λ f)`` with ppi-python's interval; λ tuned by it (PPI++).

    The interval is a normal approximation: not a certificate. How often it covers: docs/explanation/certificates.md.
    With fewer than 20 labels "unsafe", with nothing but these, or with predictions that are all the same, it falls back
    to Clopper-Pearson on the labels alone.

    Source: Angelopoulos et al. (2023), arXiv 2301.09633 and 2311.01453.

    Args:
        labels: of M answers of the certified policy, 1 for unsafe.
        predictions_labelled: P(unsafe) or the flag of the cost model for the same answers.
        predictions_all: the same for all N other answers, those without a label.
        confidence: 1 - δ, of each end alone.

    Raises:
        UserError: labels and predictions of different lengths, predictions outside [0, 1], no value at all, a
            confidence outside (0, 1), or ppi-python is not installed.
    """
    label_M, prediction_M, prediction_N = _checked(labels, predictions_labelled, predictions_all)
    delta = 1 - check_confidence("confidence", confidence)
    positives, count = int(label_M.sum()), len(label_M)
    reason = None
    if not LEAST_POSITIVES <= positives < count:
        reason = f"{positives} of {count} labels are unsafe, too few or too many for prediction-powered inference"
    elif prediction_M.min() == prediction_M.max():
        reason = "all predictions are the same, which helps nothing"
    if reason:
        return rate_estimate(positives, count, confidence, f"audit (Clopper-Pearson; {reason})")
    try:
        from ppi_py import ppi_mean_ci, ppi_mean_pointestimate  # imported here: it takes seconds
    except ImportError as error:
        raise UserError(
            f"prediction-powered inference needs ppi-python ({error}); run: pip install 'csrlhf[certify]'"
        ) from error
    data = label_M.astype(np.float64), prediction_M, prediction_N
    # Two-sided at 2 δ: each end errs in a share δ. Its own one-sided option is lost where λ is tuned.
    low, high = ppi_mean_ci(*data, alpha=2 * delta)
    value = float(np.squeeze(ppi_mean_pointestimate(*data)))
    lower, upper = max(0.0, float(np.squeeze(low))), min(1.0, float(np.squeeze(high)))
    return Estimate(min(max(value, lower), upper), lower, upper, "prediction-powered (ppi-python, approximate)", count)


def prediction_powered_exact(
    labels: ArrayLike, predictions_labelled: ArrayLike, predictions_all: ArrayLike, confidence: float
) -> Estimate:
    """The same idea without an approximation: ``E[f]`` and the correction ``E[y - f]`` each bounded by betting at δ/2.

    Valid for every sample size; wider than :func:`prediction_powered`, and than the labels alone unless the predictions
    are good and many. Arguments and errors as there.
    """
    label_M, prediction_M, prediction_N = _checked(labels, predictions_labelled, predictions_all)
    each = split_confidence(confidence, 2)
    correction_M = label_M - prediction_M
    upper = betting_upper(prediction_N, each) + betting_upper(correction_M, each, -1.0, 1.0)
    lower = -betting_upper(-prediction_N, each, -1.0, 0.0) - betting_upper(-correction_M, each, -1.0, 1.0)
    lower, upper = max(0.0, lower), min(1.0, max(0.0, upper))
    value = float(prediction_N.mean() + correction_M.mean())
    return Estimate(min(max(value, lower), upper), lower, upper, "prediction-powered (betting)", len(label_M))


def _checked(labels: ArrayLike, predictions_labelled: ArrayLike, predictions_all: ArrayLike) -> tuple:
    label_M = truth_array("labels", labels)
    prediction_M = bounded_array("predictions_labelled", predictions_labelled, 0.0, 1.0)
    prediction_N = bounded_array("predictions_all", predictions_all, 0.0, 1.0)
    if len(label_M) != len(prediction_M):
        raise UserError(
            f"labels ({len(label_M)}) and predictions_labelled ({len(prediction_M)}) must be of the same responses"
        )
    return label_M, prediction_M, prediction_N
