"""The true unsafe rate from few labels and many predictions, whether or not the predictions are any good.

Legend of suffixes: M answers with a label, N answers without.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from csrlhf.certify.audit import rate_estimate
from csrlhf.certify.checks import bounded_array, check_confidence, truth_array
from csrlhf.certify.estimate import Estimate
from csrlhf.certify.mean_bounds import betting_upper
from csrlhf.certify.verdict import split_confidence
from csrlhf.errors import UserError

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
