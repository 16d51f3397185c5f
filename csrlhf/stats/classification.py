"""How good probabilities of "unsafe" are: decisions, ranking, calibration. Unsafe is the positive class.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import rankdata
from torchmetrics.functional.classification import binary_calibration_error

from csrlhf.stats.intervals import independent_rows

NUM_BINS = 10
"""Bins of equal width of the expected calibration error."""


def auroc(score_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> float:
    """Probability that an unsafe row scores higher than a safe one, ties counting half; NaN with one class.

    By ranks (Mann-Whitney), since a bootstrap may call it a thousand times.
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


def metrics_of_resamples(
    probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], count_BN: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """``classification_metrics`` of many resamples at once: a bootstrap needs a thousand.

    Args:
        probability_N: P(unsafe), in [0, 1].
        unsafe_N: the truth.
        count_BN: how often resample B has row N.

    Returns:
        One number per resample; NaN as in ``classification_metrics``.
    """
    order_N = np.argsort(probability_N)
    probability_N, unsafe_N, count_BN = probability_N[order_N], unsafe_N[order_N], count_BN[:, order_N]
    unsafe_BN, safe_BN = count_BN * unsafe_N, count_BN * ~unsafe_N
    flagged_N = probability_N > 0.5
    hits_B, passes_B = unsafe_BN[:, flagged_N].sum(axis=1), safe_BN[:, ~flagged_N].sum(axis=1)
    num_B, num_unsafe_B, num_safe_B = count_BN.sum(axis=1), unsafe_BN.sum(axis=1), safe_BN.sum(axis=1)
    starts = np.flatnonzero(np.diff(probability_N, prepend=-1.0))  # one column per score: ties count half
    unsafe_BS, safe_BS = (np.add.reduceat(part, starts, axis=1) for part in (unsafe_BN, safe_BN))
    pairs_B = (unsafe_BS * (safe_BS.cumsum(axis=1) - 0.5 * safe_BS)).sum(axis=1)
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64).numpy()  # as torchmetrics has them
    gap_N = probability_N - unsafe_N
    gap_NM = gap_N[:, None] * (np.digitize(probability_N, edges)[:, None] == np.arange(1, NUM_BINS + 2))
    with np.errstate(invalid="ignore"):  # 0 / 0
        return {
            "accuracy": (hits_B + passes_B) / num_B,
            "precision": hits_B / count_BN[:, flagged_N].sum(axis=1),
            "recall": hits_B / num_unsafe_B,
            "specificity": passes_B / num_safe_B,
            "auroc": pairs_B / (num_unsafe_B * num_safe_B),
            "ece": np.abs(count_BN @ gap_NM).sum(axis=1) / num_B,
            "brier": count_BN @ gap_N**2 / num_B,
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


# Are probabilities of "unsafe" true, and what does another threshold change? The numbers behind two figures.

MAX_POINTS = 500
"""Thresholds of a curve: more rows than this are thinned out evenly."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose P(unsafe) lies in one bin, [low, high) (the last bin holds 1 as well).

    Attributes:
        low: lower edge.
        high: upper edge.
        count: rows, at least 1.
        probability: their mean P(unsafe).
        unsafe: the share of them that is unsafe; equal to ``probability`` where the model is calibrated.
        unsafe_low: lower bound of a 95 % Wilson interval of that share.
        unsafe_high: its upper bound.
    """

    low: float
    high: float
    count: int
    probability: float
    unsafe: float
    unsafe_low: float
    unsafe_high: float


def reliability_bins(
    probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], prompts: Sequence[Hashable] | None = None
) -> list[ReliabilityBin]:
    """The bins of the expected calibration error that hold rows, in rising order.

    The error is the mean over rows of ``abs(probability - unsafe)`` of their bin.

    Args:
        probability_N: P(unsafe).
        unsafe_N: the truth.
        prompts: of each row: the interval (Wilson's) counts as many rows as those of its prompts are worth. None where
            every row has its own.
    """
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    bin_N = np.clip(np.searchsorted(edges, probability_N, side="right") - 1, 0, NUM_BINS - 1)
    bins = []
    for index in range(NUM_BINS):
        inside_N = bin_N == index
        if inside_N.any():
            count, unsafe = int(inside_N.sum()), int(unsafe_N[inside_N].sum())
            groups: dict[Hashable, list[float]] = {}
            for row in np.flatnonzero(inside_N).tolist():
                groups.setdefault(row if prompts is None else prompts[row], []).append(float(unsafe_N[row]))
            low, high = _wilson(unsafe / count, independent_rows(list(groups.values()), 0.95))
            mean = float(probability_N[inside_N].mean())
            edge = (float(edges[index]), float(edges[index + 1]))
            bins.append(ReliabilityBin(*edge, count, mean, unsafe / count, low, high))
    return bins


def _wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's interval (1927) of 95 %; ``count`` need not be whole."""
    z = 1.959963984540054
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, centre - reach), min(1.0, centre + reach)


@dataclass(frozen=True)
class ThresholdCurve:
    """What flagging every row with a logit above ``tau`` gives, for rising ``tau``.

    Attributes:
        tau_M: thresholds in logits: 0, and the rows' own logits.
        recall_M: share of the unsafe rows that is flagged; NaN without unsafe rows.
        false_positive_rate_M: share of the safe rows that is flagged; NaN without safe rows.
        precision_M: share of the flagged rows that is unsafe; NaN where nothing is flagged.
    """

    tau_M: NDArray[np.float64]
    recall_M: NDArray[np.float64]
    false_positive_rate_M: NDArray[np.float64]
    precision_M: NDArray[np.float64]

    def at(self, tau: float) -> dict[str, float]:
        """The three shares at the largest threshold of the curve that is not above ``tau``.

        Between two thresholds no decision changes, so on a curve of all rows this is exact.
        """
        index = max(int(np.searchsorted(self.tau_M, tau, side="right")) - 1, 0)
        return {
            "recall": float(self.recall_M[index]),
            "false_positive_rate": float(self.false_positive_rate_M[index]),
            "precision": float(self.precision_M[index]),
        }


def threshold_curve(logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> ThresholdCurve:
    """The curve over all thresholds at which a decision changes, at most ``MAX_POINTS`` of them, and 0.

    Args:
        logit_N: cost logits, > tau means flagged.
        unsafe_N: the truth.
    """
    own = np.unique(logit_N)
    if len(own) > MAX_POINTS:
        own = own[np.linspace(0, len(own) - 1, MAX_POINTS).round().astype(int)]
    tau_M = np.unique(np.concatenate([own[:1] - 1.0, own, [0.0]]))
    unsafe, safe = np.sort(logit_N[unsafe_N]), np.sort(logit_N[~unsafe_N])
    hits_M = len(unsafe) - np.searchsorted(unsafe, tau_M, side="right")
    false_alarms_M = len(safe) - np.searchsorted(safe, tau_M, side="right")
    return ThresholdCurve(
        tau_M,
        _ratios(hits_M, len(unsafe)),
        _ratios(false_alarms_M, len(safe)),
        _ratios(hits_M, hits_M + false_alarms_M),
    )


def _ratios(numerator_M: NDArray[np.int64], denominator: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """NaN where the denominator is 0."""
    denominator_M = np.broadcast_to(np.asarray(denominator, dtype=float), numerator_M.shape)
    return np.divide(numerator_M, denominator_M, out=np.full(numerator_M.shape, np.nan), where=denominator_M > 0)
