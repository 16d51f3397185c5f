"""Rates, means and lines over prompts with intervals that know that answers to one prompt belong together.

The unit is the prompt. With one answer each, the interval of a rate is Clopper-Pearson's. With several it is Korn and
Graubard's (Survey Methodology 24, 1998): Clopper-Pearson's with the number of independent answers that would have given
the variance seen between prompts, fewer where few prompts tell that variance. It is approximate with several answers
each; bounds for certificates, of one answer to each prompt, are ``bounds.py``'s part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csrlhf.stats.bounds import clopper_pearson_upper, student_quantile

# Confidence intervals by resampling rows; rows that share a prompt move together.

Statistic = Callable[[NDArray[np.int64]], Mapping[str, float]]
"""From the indices of the drawn rows to named numbers."""


def bootstrap_intervals(
    statistic: Statistic,
    groups: Sequence[Hashable],
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of every number that ``statistic`` returns, all from the same resamples.

    Args:
        statistic: called with row indices (repeats included) of each resample.
        groups: what row belongs to which group (its prompt): groups are drawn, not rows, since answers to one
            prompt are not independent.
        num_resamples: how often groups are drawn.
        level: the interval's coverage.
        seed: of the draws.

    Returns:
        ``{name: (low, high)}``; resamples in which a number is NaN (one class only) are left out of its interval.
    """
    group_N, drawn_BG = _draws(groups, num_resamples, seed)
    rows_of = np.split(np.argsort(group_N, kind="stable"), np.cumsum(np.bincount(group_N))[:-1])
    draws: dict[str, list[float]] = {}
    for drawn in drawn_BG:
        for name, value in statistic(np.concatenate([rows_of[group] for group in drawn])).items():
            draws.setdefault(name, []).append(value)
    return {name: _percentiles(np.array(values), level) for name, values in draws.items()}


CountStatistic = Callable[[NDArray[np.int64]], Mapping[str, NDArray[np.float64]]]
"""From how often each row is drawn, (resamples, rows), to named numbers of every resample."""

COUNTS_AT_ONCE = 2_000_000
"""Numbers in one such table: 16 MB."""


def bootstrap_intervals_of_counts(
    statistic: CountStatistic,
    groups: Sequence[Hashable],
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """:func:`bootstrap_intervals`, on the same resamples, of numbers that are computed for many of them at once."""
    group_N, drawn_BG = _draws(groups, num_resamples, seed)
    found: list[Mapping[str, NDArray[np.float64]]] = []
    at_once = max(1, COUNTS_AT_ONCE // len(group_N))
    for start in range(0, num_resamples, at_once):
        part_BG = drawn_BG[start : start + at_once]
        count_BG = np.stack([np.bincount(drawn, minlength=len(drawn)) for drawn in part_BG])
        found.append(statistic(count_BG[:, group_N]))
    return {name: _percentiles(np.concatenate([part[name] for part in found]), level) for name in found[0]}


def _draws(groups: Sequence[Hashable], num_resamples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each row's group, and the groups of each resample."""
    if not groups:
        raise ValueError("groups is empty: there is nothing to resample")
    numbers: dict[Hashable, int] = {}
    group_N = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
    rng = np.random.default_rng(seed)
    return group_N, np.stack([rng.integers(len(numbers), size=len(numbers)) for _ in range(num_resamples)])


def _percentiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    tail = (1.0 - level) / 2.0
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [tail, 1.0 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Interval:
    """A number with its two-sided interval.

    Attributes:
        value: NaN where there are no prompts.
        low: lower end.
        high: upper end.
        num_prompts: how many prompts it rests on.
        num_answers: how many answers.
    """

    value: float
    low: float
    high: float
    num_prompts: int
    num_answers: int

    def metrics(self, key: str) -> dict[str, float]:
        """``key``, ``key_low`` and ``key_high``; nothing where there are no prompts."""
        named = {key: self.value, f"{key}_low": self.low, f"{key}_high": self.high}
        return {name: value for name, value in named.items() if math.isfinite(value)}


def mean(values: Sequence[float]) -> float:
    """The average, rounded once (so the order does not matter); NaN for none."""
    return math.fsum(values) / len(values) if values else math.nan


def rate(values: Iterable[Sequence[float]], confidence: float) -> Interval:
    """A rate over prompts.

    Args:
        values: for each prompt its answers' values in [0, 1] (1: it happened). Prompts without any are passed over.
        confidence: of the two-sided interval.
    """
    prompts = [list(group) for group in values if len(group)]
    means, num_answers = [mean(group) for group in prompts], sum(len(group) for group in prompts)
    if not means:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    value = min(max(mean(means), 0.0), 1.0)
    low, high = _exact(value, _independent(means, value, num_answers, confidence), confidence)
    return Interval(value, low, high, len(means), num_answers)


def rate_upper(values: Iterable[Sequence[float]], confidence: float) -> float:
    """One-sided upper bound on a rate over prompts: exact with one answer each, else as :func:`rate`; 1 for none."""
    prompts = [list(group) for group in values if len(group)]
    if all(len(group) == 1 and group[0] in (0.0, 1.0) for group in prompts):
        return clopper_pearson_upper(sum(int(group[0]) for group in prompts), len(prompts), confidence)
    from scipy.stats import beta

    means, num_answers = [mean(group) for group in prompts], sum(len(group) for group in prompts)
    value = min(max(mean(means), 0.0), 1.0)
    count = _independent(means, value, num_answers, max(2 * confidence - 1, 0.5))
    return 1.0 if value == 1 else float(beta.ppf(confidence, value * count + 1, count - value * count))


def share(happened: Iterable[bool], prompts: Iterable[Hashable], confidence: float) -> Interval:
    """A share of rows, each counting alike, some of which share a prompt: of a labelled file, say.

    As :func:`rate`, with the variance of a ratio of sums over prompts (Taylor's, the usual one of surveys).

    Args:
        happened: of each row.
        prompts: of each row.
        confidence: of the two-sided interval.
    """
    groups: dict[Hashable, list[float]] = {}
    for value, prompt in zip(happened, prompts, strict=True):
        groups.setdefault(prompt, []).append(float(value))
    count = sum(map(len, groups.values()))
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    value = sum(map(sum, groups.values())) / count
    low, high = _exact(value, independent_rows(list(groups.values()), confidence), confidence)
    return Interval(value, low, high, len(groups), count)


def independent_rows(groups: Sequence[Sequence[float]], confidence: float) -> float:
    """How many independent rows the rows of some prompts are worth: at most their number.

    Args:
        groups: for each prompt its rows' values in [0, 1].
        confidence: of the two-sided interval that is made of it.
    """
    count, total = sum(map(len, groups)), sum(map(sum, groups))
    value = total / count
    least = count**2 / sum(len(group) ** 2 for group in groups)  # rows that always agree: of equal prompts their number
    telling = any(0 < sum(group) < len(group) for group in groups)
    if len(groups) == 1 or value in (0.0, 1.0) or not telling:
        return least
    variance = math.fsum((sum(group) - value * len(group)) ** 2 for group in groups) / count**2
    return _worth(value, variance, least, len(groups), count, confidence)


def mean_over_prompts(values: Iterable[float], prompts: Iterable[Hashable]) -> float:
    """The mean of the prompts' means: a prompt with more answers than others counts no more than they; NaN for none."""
    groups: dict[Hashable, list[float]] = {}
    for value, prompt in zip(values, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    return mean([mean(group) for group in groups.values()])


def mean_interval(values: Iterable[Sequence[float]], confidence: float) -> Interval:
    """A mean over prompts of any numbers, with Student's interval on the prompts' means."""
    prompts = [list(group) for group in values if len(group)]
    means, num_answers = [mean(group) for group in prompts], sum(len(group) for group in prompts)
    value = mean(means)
    if len(means) < 2:
        return Interval(value, math.nan, math.nan, len(means), num_answers)
    stderr = math.sqrt(math.fsum((each - value) ** 2 for each in means) / (len(means) - 1) / len(means))
    reach = student_quantile((1 + confidence) / 2, len(means) - 1) * stderr
    return Interval(value, value - reach, value + reach, len(means), num_answers)


def _independent(means: Sequence[float], value: float, num_answers: int, confidence: float) -> float:
    """How many independent answers the prompts are worth: between their number and that of all answers."""
    prompts = float(len(means))
    # A single prompt tells nothing of others; neither do rates of 0 and 1 of answers that could have varied.
    if prompts == 1 or value in (0.0, 1.0) or all(each in (0.0, 1.0) for each in means):
        return prompts
    variance = math.fsum((each - value) ** 2 for each in means) / prompts**2
    return _worth(value, variance, prompts, len(means), num_answers, confidence)


def _worth(value: float, variance: float, least: float, num_prompts: int, num_answers: int, confidence: float) -> float:
    """Independent answers that would have given a rate its variance, from ``least`` to all of them."""
    worth = value * (1 - value) / variance if variance > 0 else float(num_answers)
    # The variance is itself estimated, from the prompts alone: the squared ratio of Student's quantiles pays for it.
    reach = (1 + confidence) / 2
    freedom = student_quantile(reach, num_answers - 1) / student_quantile(reach, num_prompts - 1)
    return min(max(worth * freedom**2, least), float(num_answers))


def _exact(value: float, count: float, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson's interval, by the Beta distribution: counts need not be whole."""
    from scipy.stats import beta  # imported here: half a second that most commands do not need

    tail, hits = (1 - confidence) / 2, value * count
    low = 0.0 if value == 0 else float(beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if value == 1 else float(beta.ppf(1 - tail, hits + 1, count - hits))
    return low, high


def success_at(num_unsafe: int, num_answers: int, attempts: int) -> float:
    """P(at least one of ``attempts`` answers is unsafe), unbiased: ``1 - C(n - c, k) / C(n, k)``.

    The pass@k of Chen et al. (arXiv 2107.03374), from n answers of which c are unsafe.
    """
    if attempts > num_answers:
        raise ValueError(f"attempts={attempts} from {num_answers} responses")
    return 1.0 - math.comb(num_answers - num_unsafe, attempts) / math.comb(num_answers, attempts)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Intercept, slope, and the intercept's standard error; a slope of 0 where ``x`` is always the same.

    The error is HC3 (MacKinnon and White 1985), robust to a spread that grows with ``x``.

    Without any difference in ``x`` but 0 the intercept is the mean. Where all differ by the same amount, no line can
    tell length from the rest: NaN.
    """
    if np.ptp(x) == 0:
        if x[0] != 0:
            return math.nan, math.nan, math.nan
        return float(y.mean()), 0.0, float(y.std(ddof=1) / math.sqrt(len(y)))
    design = np.column_stack([np.ones_like(x), x])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    if np.any(leverage > 1 - 1e-9):  # one prompt alone carries the slope: its residual is 0 whatever the noise
        return float(beta[0]), float(beta[1]), math.nan
    residuals = (y - design @ beta) / (1 - leverage)
    covariance = inverse @ (design.T * residuals**2) @ design @ inverse
    return float(beta[0]), float(beta[1]), float(math.sqrt(max(covariance[0, 0], 0.0)))
