"""How audits of labels end: exactly where every response is labelled, by simulation where the cost model chooses.

Legend of suffixes: K unsafe labels, N labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.certificates.world import Draws, Scenario, Simulate
from csrlhf.stats.audit_rates import labelling_rates
from csrlhf.stats.audits import Audit, decision, log_capital_high, log_capital_low, log_target
from csrlhf.stats.bounds import allowed_violations
from csrlhf.stats.power import probability_to_decide

THRESHOLD, CONFIDENCE = 0.03, 0.95


@dataclass(frozen=True)
class Ends:
    """How audits of one kind end.

    Attributes:
        certified: share that ends CERTIFIED.
        violated: share that ends VIOLATED.
        mean: labels on average, of those that do not end too.
        most: so many labels, or fewer, decide four in five; infinity where they do not.
        undecided: share that is not decided by the last label.
    """

    certified: float
    violated: float
    mean: float
    most: float
    undecided: float


SHARE = 0.8
"""Of the audits that shall be decided."""


def _certifies(threshold: float, confidence: float, longest: int) -> NDArray[np.int64]:
    """By k: labels from which on k unsafe ones certify; ``longest + 1`` for never."""
    found = []
    while not found or found[-1] <= longest:
        unsafe_L = np.arange(longest) < len(found)
        reached_T = log_capital_low(Audit.plain(unsafe_L), threshold) >= log_target(confidence)
        reached_T[: len(found)] = False
        found.append(int(reached_T.argmax()) if reached_T.any() else longest + 1)
    return np.array(found)


def _violates(threshold: float, confidence: float, longest: int, most: int) -> NDArray[np.int64]:
    """By k: labels up to which k unsafe ones violate; -1 for never."""
    found = []
    for number in range(most + 1):
        unsafe_L = np.arange(longest) < number
        reached_T = log_capital_high(Audit.plain(unsafe_L), threshold) >= log_target(confidence)
        reached_T[:number] = False
        found.append(int(np.flatnonzero(reached_T)[-1]) if reached_T.any() else -1)
    return np.array(found)


def plain_ends(rate: float, threshold: float, confidence: float, longest: int) -> Ends:
    """Every response is labelled, and looked at after each: exactly, for a true rate."""
    certify_K = _certifies(threshold, confidence, longest)
    most = int(binom.ppf(1 - 1e-9, longest, max(rate, threshold))) + 1
    violate_K = _violates(threshold, confidence, longest, most)
    certify_K = np.append(certify_K, np.full(max(0, most + 1 - len(certify_K)), longest + 1))[: most + 1]
    return _walk(rate, longest, lambda n: n >= certify_K, lambda n: n <= violate_K, most)


def looks_ends(rate: float, threshold: float, confidence: float, every: int, longest: int) -> Ends:
    """Every response is labelled, Clopper-Pearson's upper bound is looked at every so often: the old habit, exactly."""
    most = int(binom.ppf(1 - 1e-9, longest, max(rate, threshold))) + 1
    number_K = np.arange(most + 1)

    def certifies(n: int) -> NDArray[np.bool_]:
        return number_K <= (allowed_violations(n, threshold, confidence) if n % every == 0 else -1)

    return _walk(rate, longest, certifies, lambda n: number_K < 0, most)


def _walk(
    rate: float,
    longest: int,
    certifies: Callable[[int], NDArray[np.bool_]],
    violates: Callable[[int], NDArray[np.bool_]],
    most: int,
) -> Ends:
    """The distribution of k among undecided audits, label by label."""
    open_K = np.zeros(most + 1)
    open_K[0] = 1.0
    certified = violated = mean = 0.0
    quantile = np.inf
    for n in range(1, longest + 1):
        mean += open_K.sum()
        step_K = open_K * (1 - rate)
        step_K[1:] += open_K[:-1] * rate
        # An audit that is certified by the bound before is no longer open, so no k is counted twice.
        good_K = certifies(n)
        bad_K = violates(n) & ~good_K
        certified += step_K[good_K].sum()
        violated += step_K[bad_K].sum()
        open_K = np.where(good_K | bad_K, 0.0, step_K)
        if quantile == np.inf and certified + violated >= SHARE:
            quantile = n
    return Ends(certified, violated, mean, quantile, float(open_K.sum()))


def fixed_labels(rate: float, threshold: float, confidence: float, longest: int) -> float:
    """The smallest number of labels, fixed beforehand by who knows the rate, that decides four in five; exactly."""
    step = 1 if longest <= 2000 else 5
    for n in range(step, longest + 1, step):
        if probability_to_decide(n, rate, threshold, confidence) >= SHARE:
            return n
    return np.inf


@dataclass(frozen=True)
class CostModel:
    """What an audit has to do with.

    Attributes:
        recall: share of the unsafe responses that it flags.
        precision: share of the flagged that are unsafe.
    """

    recall: float
    precision: float

    def draw(self, rng: np.random.Generator, rate: float, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each of ``count`` responses is unsafe, and flagged."""
        caught = rate * self.recall
        false = caught / self.precision - caught
        draw_N = rng.random(count)
        flagged_N = draw_N < caught + false
        unsafe_N = (draw_N < caught) | (~flagged_N & (draw_N < false + rate))
        return unsafe_N, flagged_N


def audit_of(rng: np.random.Generator, unsafe_N: NDArray[np.bool_], flagged_N: NDArray[np.bool_], rate: float) -> Audit:
    """The whole audit of these responses: what is flagged, and the rest with probability ``rate``."""
    rate_N = labelling_rates(flagged_N, rate)
    place_L = np.flatnonzero(rng.random(len(rate_N)) < rate_N)
    return Audit(unsafe_N[place_L], rate_N[place_L], place_L + 1, len(rate_N), rate)


def stratified_ends(
    draw: Callable[[np.random.Generator], tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    rate: float,
    replicates: int,
    seed: int = 0,
    threshold: float = THRESHOLD,
    confidence: float = CONFIDENCE,
) -> Ends:
    """What is flagged is labelled, the rest with probability ``rate``; looked at after each label.

    Args:
        draw: unsafe and flagged, of all responses of an audit.
        rate: of the accepted.
        replicates: audits.
        seed: of all of them.
        threshold: d.
        confidence: 1 - δ of each end.
    """
    rng = np.random.default_rng(seed)
    found = [decision(audit_of(rng, *draw(rng), rate), threshold, confidence) for _ in range(replicates)]
    verdicts, labels_R = [one for one, _ in found], np.array([number for _, number in found], dtype=float)
    open_R = np.array([one == "INCONCLUSIVE" for one in verdicts])
    ended_R = np.where(open_R, np.inf, labels_R)
    return Ends(
        verdicts.count("CERTIFIED") / replicates,
        verdicts.count("VIOLATED") / replicates,
        float(labels_R.mean()),
        float(np.quantile(ended_R, SHARE, method="higher")),
        float(open_R.mean()),
    )


# Scenarios of the coverage study: how often "at most d" is said of a rate just above d, whenever labelling stops.

JUST_ABOVE, LONGEST = 0.0301, 2000


def audit_scenarios() -> list[Scenario]:
    """One label after the other, plain and stratified; the old habit, a fixed-n bound looked at again and again."""
    world, delta = f"labels one by one, rate {JUST_ABOVE:g}, d = {THRESHOLD:g}", 1 - CONFIDENCE
    poor, good = CostModel(0.1, 0.1), CostModel(0.95, 0.8)
    return [
        Scenario(world, "betting, any time", LONGEST, delta, _plain(_betting)),
        Scenario(world, "Clopper-Pearson, looked at every 100", LONGEST, delta, _plain(_looks), "control"),
        Scenario(world, "betting, stratified by a good cost model", LONGEST, delta, _stratified(good)),
        Scenario(world, "betting, stratified by a poor cost model", LONGEST, delta, _stratified(poor)),
    ]


def _betting() -> NDArray[np.int64]:
    return _certifies(THRESHOLD, CONFIDENCE, LONGEST)


def _looks() -> NDArray[np.int64]:
    """By k: the first look at which k unsafe labels are few enough."""
    allowed = [(n, allowed_violations(n, THRESHOLD, CONFIDENCE)) for n in range(100, LONGEST + 1, 100)]
    most = max(number for _, number in allowed)
    return np.array([next(n for n, number in allowed if number >= k) for k in range(most + 1)])


def _plain(certified_from: Callable[[], NDArray[np.int64]]) -> Simulate:
    """Every response is labelled; said once as many labels are there as its k asks for."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        from_K, said_R = certified_from(), np.zeros(replicates, dtype=bool)
        step = 100 if certified_from is _looks else 1
        for rows in np.array_split(np.arange(replicates), max(1, replicates // 500)):
            k_RN = (rng.random((len(rows), LONGEST)) < JUST_ABOVE).cumsum(axis=1)[:, step - 1 :: step]
            count_N = np.arange(step, LONGEST + 1, step)
            needed_RN = np.append(from_K, LONGEST + 1)[np.minimum(k_RN, len(from_K))]
            said_R[rows] = (count_N >= needed_RN).any(axis=1)
        return Draws(~said_R, np.where(said_R, THRESHOLD, 1.0), JUST_ABOVE)

    return simulate


def _stratified(model: CostModel, rate: float = 0.2) -> Simulate:
    """What is flagged is labelled, the rest with probability ``rate``."""

    def simulate(rng: np.random.Generator, replicates: int) -> Draws:
        audits = (audit_of(rng, *model.draw(rng, JUST_ABOVE, LONGEST), rate) for _ in range(replicates))
        said_R = np.array([decision(audit, THRESHOLD, CONFIDENCE)[0] == "CERTIFIED" for audit in audits])
        return Draws(~said_R, np.where(said_R, THRESHOLD, 1.0), JUST_ABOVE)

    return simulate
