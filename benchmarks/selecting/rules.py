"""Rules of checkpoint selection, all replicates side by side.

``shortlist`` is what csrlhf does where there are prompts for it (``csrlhf.training.ppo.selection``; a test compares the
two), ``union`` what it does where there are none. The others are here to compare.

Legend as in world.py; C screening confidences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.selecting.world import CONFIDENCE, THRESHOLD, Run, Seen
from csrlhf.stats.bounds import BETS, allowed_violations

Index = NDArray[np.int64]
SCREENS = (0.999, 0.99, 0.95, 0.5)


@dataclass(frozen=True)
class Choice:
    """What a rule hands over.

    Attributes:
        place_R: which evaluation's policy.
        found_R: whether it is said to keep the threshold.
        responses_R: of the confirmation, over all policies that were tested.
    """

    place_R: Index
    found_R: NDArray[np.bool_]
    responses_R: Index


Rule = Callable[[Seen], Choice]


def most_allowed(count: int, confidence: float) -> int:
    """Unsafe responses with which a policy still passes."""
    return allowed_violations(count, THRESHOLD, confidence)


def richest(seen: Seen, confidence: float) -> Index:
    """Of the policies that pass at a confidence the one with the highest reward, else the one with the fewest hits."""
    passes_RL = seen.hits_RL <= most_allowed(seen.num_prompts, confidence)
    # Upper bounds grow with the hits, so their order is that of the hits.
    return np.where(passes_RL, seen.reward_RL, -1e6 - seen.hits_RL).argmax(axis=1)


def each_alone(seen: Seen) -> Choice:
    """Every evaluation at the whole confidence: what nobody may do."""
    return _by_looks(seen, CONFIDENCE)


def union(seen: Seen) -> Choice:
    """Every evaluation's bound pays for all of them."""
    return _by_looks(seen, 1 - (1 - CONFIDENCE) / seen.hits_RL.shape[1])


def _by_looks(seen: Seen, confidence: float) -> Choice:
    place_R = richest(seen, confidence)
    hits_R = np.take_along_axis(seen.hits_RL, place_R[:, None], axis=1)[:, 0]
    return Choice(place_R, hits_R <= most_allowed(seen.num_prompts, confidence), np.zeros_like(place_R))


def _passes(seen: Seen, place_R: Index, confidence: float = CONFIDENCE) -> NDArray[np.bool_]:
    hits_R = seen.unsafe_RLM[np.arange(len(place_R)), place_R].sum(axis=1)
    return hits_R <= most_allowed(seen.unsafe_RLM.shape[2], confidence)


def one(seen: Seen) -> Choice:
    """The richest at 95 %, and one confirmation."""
    place_R = richest(seen, CONFIDENCE)
    return Choice(place_R, _passes(seen, place_R), np.full_like(place_R, seen.unsafe_RLM.shape[2]))


def two_halves(seen: Seen) -> Choice:
    """The richest at 50 %, and if it fails the surest, each with half of δ."""
    half, count = 1 - (1 - CONFIDENCE) / 2, seen.unsafe_RLM.shape[2]
    first_R, second_R = richest(seen, 0.5), richest(seen, SCREENS[0])
    passed_R = _passes(seen, first_R, half)
    found_R = passed_R | _passes(seen, second_R, half)
    return Choice(np.where(passed_R, first_R, second_R), found_R, count * (2 - passed_R.astype(np.int64)))


def shortlist(seen: Seen, screens: Sequence[float] = SCREENS) -> Choice:
    """The richest of each screen, the surest first, each at the whole δ, up to the first that fails."""
    place_RC = np.stack([richest(seen, confidence) for confidence in screens], axis=1)
    return _in_order(seen, place_RC)


def all_in_order(seen: Seen) -> Choice:
    """Every policy, by its hits: Pareto testing (arXiv 2210.07913). All of them would have to be kept."""
    order_RL = np.lexsort((-seen.reward_RL, seen.hits_RL), axis=1)
    tested = _in_order(seen, order_RL)
    passed_RL = np.stack([_passes(seen, order_RL[:, place]) for place in range(order_RL.shape[1])], axis=1)
    known_RL = np.cumprod(passed_RL, axis=1).astype(bool)
    reward_RL = np.where(known_RL, np.take_along_axis(seen.reward_RL, order_RL, axis=1), -np.inf)
    best_R = np.take_along_axis(order_RL, reward_RL.argmax(axis=1)[:, None], axis=1)[:, 0]
    return Choice(best_R, tested.found_R, tested.responses_R)


def _in_order(seen: Seen, place_RC: Index) -> Choice:
    """Test policies in an order, skipping one that was tested before, up to the first that fails."""
    size, count = len(place_RC), seen.unsafe_RLM.shape[2]
    last_R, going_R, responses_R = place_RC[:, 0].copy(), np.ones(size, dtype=bool), np.zeros(size, dtype=np.int64)
    found_R = np.zeros(size, dtype=bool)
    for number, place_R in enumerate(place_RC.T):
        known_R = (place_RC[:, :number] == place_R[:, None]).any(axis=1)
        responses_R += count * (going_R & ~known_R)
        going_R &= _passes(seen, place_R)
        last_R = np.where(going_R, place_R, last_R)
        found_R |= going_R
    return Choice(last_R, found_R, responses_R)


def sequence(seen: Seen) -> Choice:
    """The richest at 95 %, prompt by prompt until a gambler has won against "at least d" (Waudby-Smith and Ramdas)."""
    place_R = richest(seen, CONFIDENCE)
    unsafe_RM = seen.unsafe_RLM[np.arange(len(place_R)), place_R]
    logs = np.log1p(np.array([BETS * THRESHOLD / (1 - THRESHOLD), -np.minimum(BETS, 1 - 1e-12)]))  # [2, bets]
    hits_RM = unsafe_RM.cumsum(axis=1)
    count_M = np.arange(1, unsafe_RM.shape[1] + 1)
    log_RMG = (count_M - hits_RM)[..., None] * logs[0] + hits_RM[..., None] * logs[1]
    won_RM = logsumexp(log_RMG, axis=2) - np.log(len(BETS)) >= np.log(1 / (1 - CONFIDENCE))
    found_R = won_RM.any(axis=1)
    return Choice(place_R, found_R, np.where(found_R, won_RM.argmax(axis=1) + 1, unsafe_RM.shape[1]))


RULES: dict[str, tuple[str, Rule]] = {
    "each": ("every look at the whole δ (invalid)", each_alone),
    "union": ("union bound over all looks", union),
    "one": ("one policy confirmed", one),
    "sequence": ("one policy, confidence sequence", sequence),
    "halves": ("two policies confirmed, δ/2 each", two_halves),
    "shortlist": ("shortlist in order, δ each", shortlist),
    "all": ("all policies in order, δ each", all_in_order),
}
"""By name: in words, and the rule."""


@dataclass(frozen=True)
class Outcome:
    """A rule on many replicates of a run.

    Attributes:
        found: share of replicates that end with a policy which is said to keep the threshold, and does.
        false: share that end with one which is said to, and does not.
        reward: mean true reward of the former over that of the best policy that keeps it.
        responses: of the confirmation, on average.
    """

    found: float
    false: float
    reward: float
    responses: float


def outcome(rule: Rule, run: Run, looks: Sequence[Seen]) -> Outcome:
    """A rule on what replicates of a run show."""
    choices = [rule(seen) for seen in looks]
    place_R = np.concatenate([choice.place_R for choice in choices])
    said_R = np.concatenate([choice.found_R for choice in choices])
    true_R = run.feasible_L[place_R]
    found_R = said_R & true_R
    best = run.reward_L[run.feasible_L].max() if run.feasible_L.any() else np.nan
    reward = float(run.reward_L[place_R][found_R].mean() / best) if found_R.any() else np.nan
    responses = float(np.concatenate([choice.responses_R for choice in choices]).mean())
    return Outcome(float(found_R.mean()), float((said_R & ~true_R).mean()), reward, responses)
