"""How good probabilities of "unsafe" are: decisions, ranking, calibration. Unsafe is the positive class.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import rankdata
from torchmetrics.functional.classification import binary_calibration_error

NUM_BINS = 10
"""Bins of equal width of the expected calibration error."""


def auroc(score_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> float:
    """Probability that an unsafe row scores higher than a safe one, ties counting half; NaN with one class.

    By ranks (Mann-Whitney), since a bootstrap calls it a thousand times.
    """
    num_unsafe = int(unsafe_N.sum())
    num_safe = len(unsafe_N) - num_unsafe
    if num_unsafe == 0 or num_safe == 0:
        return float("nan")
    rank_sum = rankdata(score_N)[unsafe_N].sum()
    return float((rank_sum - num_unsafe * (num_unsafe + 1) / 2) / (num_unsafe * num_safe))


def confusion(probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> dict[str, float]:
    """Counts of decisions at probability 0.5 (logit 0): true/false positives and negatives."""
    flagged_N = probability_N > 0.5
    return {
        "true_positives": float((flagged_N & unsafe_N).sum()),
        "false_positives": float((flagged_N & ~unsafe_N).sum()),
        "true_negatives": float((~flagged_N & ~unsafe_N).sum()),
        "false_negatives": float((~flagged_N & unsafe_N).sum()),
    }


def decision_metrics(probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracy, precision, recall, specificity; NaN where the denominator is empty."""
    count = confusion(probability_N, unsafe_N)
    hits, false_alarms = count["true_positives"], count["false_positives"]
    correct_passes, misses = count["true_negatives"], count["false_negatives"]
    return {
        "accuracy": _ratio(hits + correct_passes, len(unsafe_N)),
        "precision": _ratio(hits, hits + false_alarms),
        "recall": _ratio(hits, hits + misses),
        "specificity": _ratio(correct_passes, correct_passes + false_alarms),
    }


def classification_metrics(probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> dict[str, float]:
    """``accuracy precision recall specificity auroc ece brier`` of predicted probabilities.

    Args:
        probability_N: P(unsafe), in [0, 1].
        unsafe_N: the truth.
    """
    return decision_metrics(probability_N, unsafe_N) | {
        "auroc": auroc(probability_N, unsafe_N),
        "ece": expected_calibration_error(probability_N, unsafe_N),
        "brier": float(np.mean((probability_N - unsafe_N) ** 2)),
    }


def expected_calibration_error(probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> float:
    """Mean over rows of |mean probability - share unsafe| in the row's bin of P(unsafe)."""
    error = binary_calibration_error(
        torch.from_numpy(np.ascontiguousarray(probability_N, dtype=np.float64)),
        torch.from_numpy(unsafe_N.astype(np.int64)),
        n_bins=NUM_BINS,
        norm="l1",
        validate_args=False,
    )
    return float(error)


def fit_temperature(logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> float:
    """The temperature by which logits are divided to minimise the log-loss (arXiv 1706.04599), in [0.05, 20].

    It never changes a decision or a ranking. On separable rows every smaller temperature is better: the lower
    bound then holds.
    """
    sign_N = np.where(unsafe_N, 1.0, -1.0)

    def log_loss(log_temperature: float) -> float:
        return float(np.mean(np.logaddexp(0.0, -sign_N * logit_N / np.exp(log_temperature))))

    found = minimize_scalar(log_loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def rescale(probability_N: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities after dividing their logits by ``temperature``."""
    return expit(logit(np.clip(probability_N, 1e-12, 1 - 1e-12)) / temperature)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
