"""Learn-then-test: the largest threshold τ on the cost at which an error rate is certified, with the choice paid for.

Every τ is a null hypothesis "the error at τ is above α" with an exact binomial p-value. They are tested in a fixed
sequence, each at the full δ, until the first that is not rejected: whatever τ is then chosen among the rejected ones,
``P(its error > α) <= δ``. The order must be fixed before the labels are seen; it need not be one of growing error.

MAPIE's own procedure (risk_control 1.6) is not used here: its controllers wrap a classifier's ``predict_proba``, and
its fixed sequence takes its direction from the calibration data's own errors. The tests compare with its p-values
and its family-wise control.

Legend of suffixes: N labelled answers, T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csrlhf.certify.bounds import clopper_pearson_upper
from csrlhf.certify.checks import check_confidence, finite_array, truth_array
from csrlhf.errors import UserError

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
