"""Audits that may stop at any time: label one response after the other, look after each, stop when it is decided.

Responses stand in a random order. Each is to be labelled with a known probability (its rate): 1 where the cost model
sees harm, less elsewhere. ``Z = unsafe / rate`` where it was labelled and 0 where it was not has the true unsafe rate
as its mean, whatever the cost model is worth, so a response that is passed over is evidence too, and costs nothing.

A gambler bets on Z. Against "the rate is m or more" the capital ``mean_b Π (1 - b (Z - m) / (Z_max - m))`` has a mean
of at most 1 at every time; that it *ever* reaches 1/δ has probability δ at the most (Ville). So its bounds hold at all
times at once, and whoever stops when they please has them. The rate is that of the population which the responses are
drawn from. That they are a finite pool, labelled without replacement, gains nothing: in random order they are
independent draws all the same, and a pool that is labelled to the end still leaves the population open.

Sources: Waudby-Smith and Ramdas (2024), arXiv 2010.09686 (betting); Ville (1939); Horvitz and Thompson (1952) (Z).

Legend of suffixes: L labels in their order, T = L + 1 times (before the first label, after each), G bets, R rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csrlhf.errors import UserError
from csrlhf.stats.bounds import least_count
from csrlhf.stats.estimates import Estimate, Verdict, check_confidence, split_confidence

LOW_SHARES = np.arange(1, 11) / 10
"""Bets on a rate below m, as shares of the largest that can never go bankrupt: with plain labels, b bets on
``(1 - b) m``."""
LOW_WEIGHTS = LOW_SHARES / LOW_SHARES.sum()
"""A policy that is worth an audit is meant to be well below the threshold: most of the capital bets on that."""
HIGH_STAKES = 2.0 ** np.arange(-2, 4)
"""Bets on a rate above m, as multiples of Z - m: with plain labels and a small m, s bets on about ``(1 + s) m``."""
HIGH_WEIGHTS = np.full(len(HIGH_STAKES), 1 / len(HIGH_STAKES))
HIGHEST_SHARE = 0.5
"""Of its capital, no more is at stake in a bet on a rate above m."""


@dataclass(frozen=True)
class Audit:
    """Labels in the order in which they were given.

    Example: of 10 responses the first was labelled unsafe at rate 1 and the fourth safe at rate 0.5; the next one to
    label is the eighth: ``Audit([True, False], [1, 0.5], [1, 4], passed=7, least_rate=0.5)``.

    Attributes:
        unsafe_L: what was found; an open question (raters disagree, unsure) counts as unsafe here.
        rate_L: with which probability each was to be labelled, in (0, 1].
        place_L: of each, among all responses in their random order, from 1.
        passed: responses before the next one to label: what is known of them is known.
        least_rate: the smallest rate of the order, whether or not it has occurred.
        surely_L: the same as ``unsafe_L`` with open questions as safe; None where nothing is open.
    """

    unsafe_L: Sequence[bool] | NDArray[np.bool_]
    rate_L: Sequence[float] | NDArray[np.float64]
    place_L: Sequence[int] | NDArray[np.int64]
    passed: int
    least_rate: float = 1.0
    surely_L: Sequence[bool] | NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Keep arrays; refuse what is no audit."""
        surely = self.unsafe_L if self.surely_L is None else self.surely_L
        kinds = {"unsafe_L": bool, "rate_L": float, "place_L": int, "surely_L": bool}
        given = {"unsafe_L": self.unsafe_L, "rate_L": self.rate_L, "place_L": self.place_L, "surely_L": surely}
        for name, values in given.items():
            object.__setattr__(self, name, np.asarray(values, dtype=kinds[name]))
        sizes = {name: len(getattr(self, name)) for name in kinds}
        if len(set(sizes.values())) > 1:
            raise UserError(f"{sizes}: an audit needs one of each for every label")
        if not 0 < self.least_rate <= 1 or any(not self.least_rate <= rate <= 1 for rate in self.rate_L):
            raise UserError(
                f"least_rate={self.least_rate}, rate_L={self.rate_L}: rates lie in [least_rate, 1], above 0"
            )
        if (np.diff(self.place_L, prepend=0, append=self.passed + 1) < 1).any():
            raise UserError(f"place_L={self.place_L}, passed={self.passed}: places ascend from 1, each once, to passed")

    @classmethod
    def plain(cls, unsafe: ArrayLike) -> Audit:
        """Labels of the first responses, one after the other: every response is labelled."""
        unsafe_L = np.asarray(unsafe, dtype=bool)
        return cls(unsafe_L, np.ones(len(unsafe_L)), np.arange(1, len(unsafe_L) + 1), len(unsafe_L))

    def of(self, chosen_L: ArrayLike) -> Audit:
        """The same audit of "unsafe, and chosen": all others count as safe."""
        chosen = np.asarray(chosen_L, dtype=bool)
        return replace(self, unsafe_L=self.unsafe_L & chosen, surely_L=self.surely_L & chosen)  # type: ignore[operator]

    def until(self, count: int) -> Audit:
        """What was known after ``count`` labels, up to the next one."""
        passed = self.passed if count >= len(self.place_L) else int(self.place_L[count]) - 1
        cut = {name: getattr(self, name)[:count] for name in ("unsafe_L", "rate_L", "place_L", "surely_L")}
        return replace(self, passed=passed, **cut)

    @property
    def value(self) -> float:
        """The unbiased estimate ``mean Z``, at most 1; NaN where nothing was passed."""
        total = float((np.asarray(self.unsafe_L) / np.asarray(self.rate_L)).sum())
        return min(1.0, total / self.passed) if self.passed else math.nan

    @cached_property
    def low_counts(self) -> Counts:
        """What a bet on a low rate sees: open questions are unsafe, and responses up to the next label have passed."""
        return _counts(self.unsafe_L, self, np.append(np.asarray(self.place_L) - 1, self.passed))

    @cached_property
    def high_counts(self) -> Counts:
        """What a bet on a high rate sees: open questions are safe, and nothing behind the last label has passed."""
        return _counts(self.surely_L, self, np.append(0, self.place_L))


@dataclass(frozen=True)
class Counts:
    """What a capital depends on, at each time.

    Attributes:
        rest_T: passed responses with Z = 0.
        unsafe_TR: unsafe labels by rate.
        z_R: 1 / rate.
    """

    rest_T: NDArray[np.int64]
    unsafe_TR: NDArray[np.int64]
    z_R: NDArray[np.float64]


def _counts(unsafe_L: Any, audit: Audit, passed_T: NDArray[np.int64]) -> Counts:
    rate_R, column_L = np.unique(audit.rate_L, return_inverse=True)
    hit_LR = np.zeros((len(column_L) + 1, len(rate_R)), dtype=np.int64)
    hit_LR[np.arange(len(column_L)) + 1, column_L] = unsafe_L
    unsafe_TR = hit_LR.cumsum(axis=0)
    return Counts(passed_T - unsafe_TR.sum(axis=1), unsafe_TR, 1 / rate_R)


# The two gamblers. A bet's capital is multiplied by one factor where Z = 0, and by another where Z = z.


@dataclass(frozen=True)
class Bets:
    """A mixture of bets against a rate.

    Attributes:
        weight_G: share of the capital in each.
        log_rest_G: log of the factor where Z = 0.
        log_hit: log of the factors where Z = z, [R, G], for z [R, 1].
    """

    weight_G: NDArray[np.float64]
    log_rest_G: NDArray[np.float64]
    log_hit: Callable[[Any], Any]

    def parts(self, counts: Counts) -> NDArray[np.float64]:
        """Log capital of each bet with its weight, [T, G]."""
        lost_TG = _times(counts.unsafe_TR[:, :, None], self.log_hit(counts.z_R[:, None]))
        return np.log(self.weight_G) + counts.rest_T[:, None] * self.log_rest_G + lost_TG


def _times(count_XR1: Any, log_RG: Any) -> NDArray[np.float64]:
    """Sum over rates of counts (or chances) times logs, where nothing times the log of nothing is nothing."""
    with np.errstate(invalid="ignore"):
        return np.where(count_XR1 > 0, count_XR1 * log_RG, 0.0).sum(axis=-2)


def low_bets(rate: float, z_max: float) -> Bets:
    """Bets on less than ``rate``."""

    def log_hit(z: Any) -> Any:
        with np.errstate(divide="ignore"):  # the full bet loses everything at the largest Z
            return np.log1p(-LOW_SHARES * (z - rate) / (z_max - rate))

    return Bets(LOW_WEIGHTS, np.log1p(LOW_SHARES * rate / (z_max - rate)), log_hit)


def high_bets(rate: float) -> Bets:
    """Bets on more than ``rate``."""
    share_G = np.minimum(HIGH_STAKES * rate, HIGHEST_SHARE)
    return Bets(HIGH_WEIGHTS, np.log1p(-share_G), lambda z: np.log1p(share_G * (z / rate - 1)))


def log_capital_low(audit: Audit, rate: float) -> NDArray[np.float64]:
    """Log capital of the gambler against "the rate is ``rate`` or more", at each time, just before the next label; [T].

    ``ln(1/δ)`` or more is a certificate of ``rate``. It grows with ``rate``.
    """
    return np.logaddexp.reduce(low_bets(rate, 1 / audit.least_rate).parts(audit.low_counts), axis=1)


def log_capital_high(audit: Audit, rate: float) -> NDArray[np.float64]:
    """The same against "the rate is ``rate`` or less", right after each label. It falls with ``rate``."""
    return np.logaddexp.reduce(high_bets(rate).parts(audit.high_counts), axis=1)


def log_target(confidence: float) -> float:
    """``ln(1/δ)``: the log capital that discredits a rate."""
    return math.log(1 / (1 - check_confidence("confidence", confidence)))


# Bounds and verdicts.

EDGE = 1e-9
"""Rates between it and 1 - it are looked at."""


def anytime_bounds(audit: Audit, confidence: float) -> Estimate:
    """The true rate with bounds that hold at all times at once, each end at ``confidence``.

    Whoever looks after every label and stops when the upper bound is at most d, or the lower one above it, errs with
    probability ``1 - confidence`` at the most, whatever the rate: for a rate of at most d only the lower bound can
    mislead, above d only the upper one. Bounds never widen: what was decided stays decided.

    Args:
        audit: so far.
        confidence: 1 - δ, of each end alone.
    """
    target = log_target(confidence)
    lower, upper = _lower(audit, target), _upper(audit, target)
    if lower > upper:  # one of them has erred, which happens with 2 δ at most: what had been said before stands
        return anytime_bounds(_before_contradiction(audit, target), confidence)
    weights = "" if audit.least_rate == 1 else ", weighted by known probabilities"
    value = audit.value
    value = value if math.isnan(value) else min(max(value, lower), upper)
    return Estimate(value, lower, upper, f"audit at any time (betting{weights})", len(audit.rate_L))


def _upper(audit: Audit, target: float) -> float:
    return _root(lambda rate: float(log_capital_low(audit, rate).max()) - target, below=EDGE, above=1.0)


def _lower(audit: Audit, target: float) -> float:
    return _root(lambda rate: target - float(log_capital_high(audit, rate).max()), below=0.0, above=1 - EDGE)


def _root(growing: Callable[[float], float], below: float, above: float) -> float:
    """Where a function of the rate turns positive; ``below`` where it always is, ``above`` where it never is."""
    from scipy.optimize import brentq  # imported here: a fifth of a second that most commands do not need

    if growing(EDGE) >= 0:
        return below
    if growing(1 - EDGE) <= 0:
        return above
    return float(brentq(growing, EDGE, 1 - EDGE, xtol=1e-10))  # pyright: ignore[reportArgumentType]  # the root alone


def _before_contradiction(audit: Audit, target: float) -> Audit:
    low, high = 0, len(audit.rate_L)  # bounds never widen, so it begins somewhere
    while high - low > 1:
        middle = (low + high) // 2
        cut = audit.until(middle)
        low, high = (middle, high) if _lower(cut, target) <= _upper(cut, target) else (low, middle)
    return audit.until(low)


def decision(audit: Audit, threshold: float, confidence: float) -> tuple[Verdict, int]:
    """The first verdict, and after how many labels it came; INCONCLUSIVE after all of them where there is none yet."""
    target, count = log_target(confidence), len(audit.rate_L)
    certified = _first_at(log_capital_low(audit, threshold) >= target)
    violated = _first_at(log_capital_high(audit, threshold) >= target)
    if certified == violated == count + 1:
        return "INCONCLUSIVE", count
    # A violation is known before the responses that pass up to the next label.
    return ("VIOLATED", violated) if violated <= certified else ("CERTIFIED", certified)


def _first_at(reached_T: NDArray[np.bool_]) -> int:
    """The first time, or one behind the last where there is none."""
    return int(reached_T.argmax()) if reached_T.any() else len(reached_T)


def least_labels(threshold: float, confidence: float) -> float:
    """Labels, none of them unsafe, from which on an audit is CERTIFIED, where every response is labelled; inf for 0."""
    at_once = least_count(threshold, confidence)
    if not math.isfinite(at_once):
        return at_once
    found, count = decision(Audit.plain(np.zeros(5 * math.ceil(at_once), dtype=bool)), threshold, confidence)
    return count if found == "CERTIFIED" else math.inf


def anytime_sensitivity(audit: Audit, flagged_L: ArrayLike, confidence: float) -> Estimate:
    """P(flagged | unsafe): from bounds on "unsafe and flagged" and on "unsafe and not", each at δ/2, at any time.

    Args:
        audit: so far.
        flagged_L: whether the cost model finds each of the labelled unsafe.
        confidence: 1 - δ, of each end alone.
    """
    flag_L = np.asarray(flagged_L, dtype=bool)
    each = split_confidence(confidence, 2)
    parts = audit.of(flag_L), audit.of(~flag_L)
    caught, missed = (anytime_bounds(part, each) for part in parts)
    lower = caught.lower / (caught.lower + missed.upper) if caught.lower else 0.0
    upper = caught.upper / (caught.upper + missed.lower) if missed.lower else 1.0
    number = int(np.asarray(audit.unsafe_L).sum())
    value = parts[0].value / (parts[0].value + parts[1].value) if number else math.nan
    value = value if math.isnan(value) else min(max(value, lower), upper)
    return Estimate(value, lower, upper, "audit at any time (betting)", number)


# How much longer an audit will take.

LONGEST = 10_000_000
"""Responses beyond which nobody goes on."""


@dataclass(frozen=True)
class Outlook:
    """How an audit would probably go on.

    Attributes:
        labels: how many more would probably decide it; infinity where the rate found so far is too near the threshold.
        responses: how many responses they take, in their order.
    """

    labels: float
    responses: float


def outlook(audit: Audit, threshold: float, confidence: float, share_R: ArrayLike, rate_R: ArrayLike) -> Outlook:
    """How many more labels would probably decide, if rates stay as they were found: a forecast, and no bound.

    Capital after so many more responses is taken at the median number of unsafe ones, with the rates found so far (and
    one label more at each rate, ``threshold`` unsafe, so that nothing is taken for harmless before it was looked at).

    Args:
        audit: so far.
        threshold: d.
        confidence: 1 - δ.
        share_R: of responses that are labelled at each rate; the rest is never labelled, and safe.
        rate_R: the rates.
    """
    if decision(audit, threshold, confidence)[0] != "INCONCLUSIVE":
        return Outlook(0.0, 0.0)
    share, rate = np.asarray(share_R, float), np.asarray(rate_R, float)
    same_RL = np.asarray(audit.rate_L) == rate[:, None]
    unsafe_R = (same_RL @ np.asarray(audit.unsafe_L, float) + threshold) / (same_RL.sum(axis=1) + 1)
    chance_R = share * rate * unsafe_R  # that a response is labelled, and unsafe
    target = log_target(confidence)

    def steps(bets: Bets, counts: Counts) -> float:
        """Responses until this capital is reached."""
        now_G, log_hit_RG = bets.parts(counts)[-1], bets.log_hit(1 / rate[:, None])

        def surplus(count: float) -> float:
            hits_R = np.floor(count * chance_R + 1 / 3)  # the median of a Poisson variable is about its mean - 1/3
            gain_G = (count - hits_R.sum()) * bets.log_rest_G + _times(hits_R[:, None], log_hit_RG)
            return float(np.logaddexp.reduce(now_G + gain_G)) - target

        high = 1.0
        while surplus(high) < 0:
            high *= 2
            if high > LONGEST:
                return math.inf
        low = high / 2 if high > 1 else 0.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if surplus(middle) < 0 else (low, middle)
        return high

    responses = min(
        steps(low_bets(threshold, 1 / audit.least_rate), audit.low_counts),
        steps(high_bets(threshold), audit.high_counts),
    )
    return Outlook(math.ceil(responses * float(share @ rate)) if math.isfinite(responses) else math.inf, responses)
