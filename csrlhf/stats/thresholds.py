"""The largest threshold τ on the cost at which an error rate is certified (learn-then-test), and its choice.

:func:`learn_then_test` is the procedure, :func:`choose_threshold` applies it to the unsafe rows of a cost model's
evaluation, one per prompt, over thresholds that are fixed beforehand. What a τ costs, safe answers that are flagged, is
counted at the τ that came out.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csrlhf.errors import UserError
from csrlhf.stats.bounds import allowed_violations, clopper_pearson_upper, least_count
from csrlhf.stats.estimates import check_confidence, finite_array, in_percent, truth_array
from csrlhf.stats.intervals import share
from csrlhf.stats.power import least_size

# Learn-then-test.
#
# Every τ is a null hypothesis "the error at τ is above α" with an exact binomial p-value. They are tested in a fixed
# sequence, each at the full δ, until the first that is not rejected: whatever τ is then chosen among the rejected ones,
# ``P(its error > α) <= δ``. The order must be fixed before the labels are seen; it need not be one of growing error.
#
# MAPIE's own procedure (risk_control 1.6) is not used here: its controllers wrap a classifier's ``predict_proba``, and
# its fixed sequence takes its direction from the calibration data's own errors. The tests compare with its p-values
# and its family-wise control.

Risk = Literal["miss_rate", "unsafe_accepted", "unsafe_given_accepted"]
RISKS: dict[str, str] = {
    "miss_rate": "P(accepted | unsafe)",
    "unsafe_accepted": "P(unsafe and accepted)",
    "unsafe_given_accepted": "P(unsafe | accepted)",
}


@dataclass(frozen=True)
class ThresholdTest:
    """One τ of the sequence.

    Attributes:
        threshold: τ; an answer is accepted where its score is at most τ.
        errors: unsafe answers that are accepted.
        count: answers that the risk is a share of.
        p_value: P(as few errors or fewer | the risk is α).
        upper: Clopper-Pearson bound of this τ alone, at 1 - δ.
        accepted: share of all labelled answers that are accepted.
        certified: this τ and all before it were rejected at δ.
    """

    threshold: float
    errors: int
    count: int
    p_value: float
    upper: float
    accepted: float
    certified: bool


@dataclass(frozen=True)
class ThresholdChoice:
    """What was chosen.

    Attributes:
        threshold: the last certified τ of the sequence; None where not even the first is.
        risk: which error rate.
        alpha: its limit.
        delta: probability of being wrong about it.
        tests: the whole sequence, also what came after the first failure.
    """

    threshold: float | None
    risk: Risk
    alpha: float
    delta: float
    tests: tuple[ThresholdTest, ...]

    @property
    def chosen(self) -> ThresholdTest | None:
        """The test of the chosen τ."""
        return next((test for test in reversed(self.tests) if test.certified), None)


def learn_then_test(
    scores: ArrayLike,
    unsafe: ArrayLike,
    alpha: float,
    delta: float,
    thresholds: ArrayLike,
    risk: Risk = "miss_rate",
) -> ThresholdChoice:
    """The last τ of the sequence whose risk is at most α, with probability 1 - δ over the labelled answers.

    Source: Angelopoulos et al. (2021), arXiv 2110.01052, section on fixed sequence testing; binomial p-values.

    Args:
        scores: cost logits (or any score, larger means less safe) of N answers, one per prompt.
        unsafe: their labels.
        alpha: limit of the risk.
        delta: probability that the chosen τ breaks it, over everything that was tried.
        thresholds: candidates in the order to test, strictest first, fixed beforehand and not taken from these scores.
        risk: ``miss_rate`` of the unsafe answers those accepted, ``unsafe_accepted`` of all answers those unsafe and
            accepted, ``unsafe_given_accepted`` of the accepted answers the unsafe.

    Raises:
        UserError: α or δ outside (0, 1), scores and labels of different lengths or not finite, no threshold, an unknown
            risk.
    """
    score_N, unsafe_N = finite_array("scores", scores), truth_array("unsafe", unsafe)
    candidates = finite_array("thresholds", thresholds)
    if len(score_N) != len(unsafe_N):
        raise UserError(f"scores ({len(score_N)}) and unsafe ({len(unsafe_N)}) must be of the same responses, in order")
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise UserError(f"{name}={value}: lies in (0, 1), e.g. 0.05")
    if risk not in RISKS:
        raise UserError(f"risk={risk!r}: choose one of {', '.join(RISKS)}")
    check_confidence("1 - delta", 1 - delta)
    accepted_TN = score_N <= candidates[:, None]
    over_TN = {"miss_rate": unsafe_N, "unsafe_accepted": unsafe_N | True, "unsafe_given_accepted": accepted_TN}[risk]
    error_T = (accepted_TN & unsafe_N).sum(axis=1)
    count_T = np.broadcast_to(over_TN, accepted_TN.shape).sum(axis=1)
    p_value_T = binomial_p_values(error_T, count_T, alpha)
    certified_T = np.logical_and.accumulate(p_value_T <= delta)
    tests = tuple(
        ThresholdTest(
            threshold=float(threshold),
            errors=int(errors),
            count=int(count),
            p_value=float(p_value),
            upper=clopper_pearson_upper(int(errors), int(count), 1 - delta),
            accepted=float(accepted_N.mean()),
            certified=bool(certified),
        )
        for threshold, errors, count, p_value, accepted_N, certified in zip(
            candidates, error_T, count_T, p_value_T, accepted_TN, certified_T, strict=True
        )
    )
    chosen = [test.threshold for test in tests if test.certified]
    return ThresholdChoice(chosen[-1] if chosen else None, risk, alpha, delta, tests)


def binomial_p_value(errors: int, count: int, alpha: float) -> float:
    """:func:`binomial_p_values` of one threshold."""
    return float(binomial_p_values(errors, count, alpha))


def binomial_p_values(errors: ArrayLike, counts: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """``P(X <= errors)``, X ~ Binomial(count, α): small where so few errors would be luck; 1 for count 0."""
    from scipy.stats import binom

    return np.where(np.asarray(counts) > 0, binom.cdf(errors, np.maximum(counts, 1), alpha), 1.0)


# How many unsafe examples would it take to certify a threshold that misses some of them?


def positives_needed(rate: float, alpha: float, delta: float) -> int | None:
    """Unsafe examples from which on a threshold that misses the share ``rate`` of them is certified.

    The least n with ``P(Binomial(n, α) <= ⌈rate · n⌉) <= δ``, found by doubling and halving (the p-value falls in n but
    for the rounding; what is found is the least n of a rising run). None where ``rate`` is at least α, or beyond
    ``power.MOST``.
    """

    def enough(count: int) -> bool:
        return binomial_p_value(math.ceil(rate * count - 1e-9), count, alpha) <= delta

    return None if rate >= alpha else least_size(enough)


CANDIDATES = np.linspace(-12.0, 12.0, 481).round(2)
"""The thresholds that are tried, from the strictest: P(unsafe) from 0.000006 to 0.999994, in steps of 0.05 in logits.
They are fixed before any label is seen, which the guarantee needs."""


@dataclass(frozen=True)
class ChosenThreshold:
    """What came out for one constraint.

    Attributes:
        tau: the chosen threshold on the calibrated cost logit; None where none can be certified.
        largest: the largest certified one. Every one below it is certified as well; of those that flag no more safe
            answers, ``tau`` is the one nearest 0.
        max_false_negative_rate: α, the most unsafe answers that may pass, as a share of them.
        delta: probability that the true share is above α all the same.
        unsafe: unsafe prompts that the choice rests on (one answer of each).
        missed: how many of them score at most τ.
        upper: exact bound on the share missed at τ, at 1 - δ, for this τ alone.
        least_unsafe: unsafe prompts below which no τ whatever can be certified: with this many and none missed it can.
        safe: safe answers in the file.
        safe_flagged: of them those above τ: the price of τ.
        safe_flagged_low: lower end of the 95 % interval of that share, over prompts.
        safe_flagged_high: its upper end.
        missed_at_zero: share of the unsafe prompts that the usual threshold 0 misses.
        needed_at_zero: unsafe prompts with which τ = 0 would be certified at that share; None where no number would do.
    """

    tau: float | None
    largest: float | None
    max_false_negative_rate: float
    delta: float
    unsafe: int
    missed: int
    upper: float
    least_unsafe: int
    safe: int
    safe_flagged: int
    safe_flagged_low: float
    safe_flagged_high: float
    missed_at_zero: float
    needed_at_zero: int | None

    @property
    def safe_flagged_rate(self) -> float:
        """Share of the safe answers that τ flags; NaN without safe answers or without τ."""
        return self.safe_flagged / self.safe if self.safe and self.tau is not None else math.nan

    def sentences(self) -> list[str]:
        """The outcome in words, for people: what holds, what it costs, what it would take."""
        alpha, sure = (f"{in_percent(share)}%" for share in (self.max_false_negative_rate, 1 - self.delta))
        if self.tau is None:
            why = (
                f"there are {self.unsafe}, and with fewer than {self.least_unsafe} even a threshold that misses none "
                "proves nothing"
                if self.unsafe < self.least_unsafe
                else f"with {self.unsafe} of them even the strictest threshold misses too many"
            )
            said = [f"No threshold can be certified to miss at most {alpha} of the unsafe responses: {why}."]
        else:
            said = [
                f"At τ = {self.tau:.2f} at most {alpha} of the unsafe responses pass, with confidence {sure}: "
                f"{self.missed} of {self.unsafe} do here (upper bound {self.upper:.1%}).",
                f"Its price: {self.safe_flagged} of {self.safe} safe responses are flagged "
                f"({self.safe_flagged_rate:.1%}, {self.safe_flagged_low:.1%} to {self.safe_flagged_high:.1%})."
                if self.safe
                else "Its price is unknown: the file has no safe responses.",
            ]
        if self.unsafe and self.needed_at_zero is None:
            said.append(f"At τ = 0 it misses {self.missed_at_zero:.1%}: no number of examples would certify that.")
        elif self.unsafe and (self.tau is None or self.tau < 0):
            said.append(
                f"At τ = 0 it misses {self.missed_at_zero:.1%}: if that is its true share, about "
                f"{self.needed_at_zero:,} unsafe prompts would certify it."
            )
        return said

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"certified": self.tau is not None, "sentences": self.sentences()}


def choose_threshold(
    logit_N: NDArray[np.float64],
    unsafe_N: NDArray[np.bool_],
    prompts: Sequence[Hashable],
    max_false_negative_rate: float,
    delta: float,
) -> ChosenThreshold:
    """The best τ of the certified ones: that flags fewest safe answers, and lies nearest 0 where several do.

    Any certified τ may be chosen by whatever is seen in the file: the guarantee covers all of them together.

    Args:
        logit_N: calibrated cost logits; an answer is flagged above τ.
        unsafe_N: the truth.
        prompts: of each row. Answers to one prompt are not independent: of the unsafe ones the first counts.
        max_false_negative_rate: α.
        delta: δ, of this constraint.
    """
    first = _first_of_each([prompt if unsafe else None for prompt, unsafe in zip(prompts, unsafe_N, strict=True)])
    hard = logit_N[first]
    outcome = _tested(hard, max_false_negative_rate, delta) if len(hard) else None
    largest = outcome.threshold if outcome else None
    safe_logits = logit_N[~unsafe_N]
    tau = None if largest is None else _nearest_zero(largest, safe_logits)
    missed = 0 if tau is None else int((hard <= tau).sum())
    flagged = 0 if tau is None else int((safe_logits > tau).sum())
    of_safe = [prompt for prompt, unsafe in zip(prompts, unsafe_N, strict=True) if not unsafe]
    price = share([] if tau is None else safe_logits > tau, [] if tau is None else of_safe, 0.95)
    at_zero = float(np.mean(hard <= 0)) if len(hard) else math.nan
    return ChosenThreshold(
        tau=tau,
        largest=largest,
        max_false_negative_rate=max_false_negative_rate,
        delta=delta,
        unsafe=len(hard),
        missed=missed,
        upper=math.nan if tau is None else clopper_pearson_upper(missed, len(hard), 1 - delta),
        least_unsafe=int(least_count(max_false_negative_rate, 1 - delta)),
        safe=len(safe_logits),
        safe_flagged=flagged,
        safe_flagged_low=price.low,
        safe_flagged_high=price.high,
        missed_at_zero=at_zero,
        needed_at_zero=positives_needed(at_zero, max_false_negative_rate, delta) if len(hard) else None,
    )


def _nearest_zero(largest: float, safe_logits: NDArray[np.float64]) -> float:
    """Of the candidates up to ``largest`` that flag as few safe answers as it does, the one nearest 0."""
    certified = CANDIDATES[largest >= CANDIDATES]
    flagged = len(safe_logits) - np.searchsorted(np.sort(safe_logits), certified, side="right")
    best = certified[flagged == flagged[-1]]
    return float(best[np.abs(best).argmin()])


def _tested(hard_N: NDArray[np.float64], alpha: float, delta: float) -> ThresholdChoice:
    """Learn-then-test over the candidates, from the strictest to the first that fails.

    Neighbouring candidates that miss the same answers have the same p-value: only the last of them is handed over,
    which changes neither the outcome nor the guarantee, and saves hundreds of bounds.
    """
    missed = np.searchsorted(np.sort(hard_N), CANDIDATES, side="right")
    last_of_run = np.append(np.diff(missed) > 0, True)
    within = missed <= allowed_violations(len(hard_N), alpha, 1 - delta)
    ends = CANDIDATES[last_of_run]
    return learn_then_test(
        hard_N, np.ones(len(hard_N), dtype=bool), alpha, delta, ends[: within[last_of_run].sum() + 1]
    )


def _first_of_each(keys: Sequence[Hashable | None]) -> list[int]:
    """Row numbers of the first row of each key; rows without one are left out."""
    rows: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, row)
    return list(rows.values())
