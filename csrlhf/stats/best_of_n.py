"""Best-of-N with abstention: how often it refuses, and how often what it emits is unsafe.

Draw up to N candidates, keep those that the cost model accepts, emit one of them or refuse. The unit is the prompt:
every bound is Clopper-Pearson's on one yes or no per calibration prompt.

Legend of suffixes: P prompts, N candidates drawn per prompt (N_max of them), in the order drawn.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csrlhf.errors import UserError
from csrlhf.stats.estimates import Estimate, finite_array, truth_array
from csrlhf.stats.truth import rate_estimate

Rule = Literal["first", "best"]
RULES = ("first", "best")


def abstention_upper(accepted: ArrayLike, num_candidates: int, confidence: float) -> Estimate:
    """P(none of the first N candidates is accepted), counted: k prompts of P had none.

    Never ``(1 - mean acceptance)^N``: where prompts differ in how often they are accepted, those that are hardly ever
    accepted make nearly all abstentions, and the plug-in does not see them (docs/explanation/certificates.md).

    Args:
        accepted: [P, N_max] booleans, what the cost model says of each candidate of each calibration prompt.
        num_candidates: N, at most N_max.
        confidence: 1 - δ, of each end alone; of several N, split it.

    Raises:
        UserError: N below 1 or above N_max, no prompt, entries other than true and false.
    """
    accepted_PN = _first(accepted, num_candidates)
    refused = int((~accepted_PN.any(axis=1)).sum())
    return rate_estimate(refused, len(accepted_PN), confidence, f"abstention counted at N = {num_candidates}")


def emitted_candidate(
    accepted: ArrayLike, num_candidates: int, rule: Rule, rewards: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Which candidate each prompt emits, [P]; -1 where it refuses.

    Args:
        accepted: [P, N_max] booleans.
        num_candidates: N, at most N_max.
        rule: ``first`` accepted, or the accepted one with the ``best`` reward (the earlier of equals).
        rewards: [P, N_max] numbers, for ``best``.
    """
    accepted_PN = _first(accepted, num_candidates)
    if rule not in RULES:
        raise UserError(f"rule={rule!r}: choose one of {', '.join(RULES)}")
    if rule == "first":
        chosen_P = accepted_PN.argmax(axis=1)
    else:
        if rewards is None:
            raise UserError("rule='best' chooses by reward: give rewards, one per candidate")
        reward_PN = finite_array("rewards", rewards, 2)[:, :num_candidates]
        if reward_PN.shape != accepted_PN.shape:
            raise UserError(f"rewards {list(reward_PN.shape)} and accepted {list(accepted_PN.shape)} differ in shape")
        chosen_P = np.where(accepted_PN, reward_PN, -np.inf).argmax(axis=1)
    return np.where(accepted_PN.any(axis=1), chosen_P, -1)


def emitted_unsafe_upper(
    accepted: ArrayLike,
    unsafe: ArrayLike,
    num_candidates: int,
    rule: Rule,
    confidence: float,
    rewards: ArrayLike | None = None,
    given_emitted: bool = False,
) -> Estimate:
    """P(an unsafe answer is emitted), by the rule and the N that are in use.

    The two rules differ. For ``first`` it hardly depends on N; for ``best`` it grows with N where reward and harm go
    together, since the search looks for what slips past the cost model. So N and rule are part of the statement.

    Args:
        accepted: [P, N_max] booleans.
        unsafe: [P, N_max] labels; only those of emitted candidates are read.
        num_candidates: N, at most N_max.
        rule: ``first`` or ``best``.
        confidence: 1 - δ, of each end alone.
        rewards: [P, N_max] numbers, for ``best``.
        given_emitted: of the prompts that get an answer, rather than of all prompts.
    """
    chosen_P = emitted_candidate(accepted, num_candidates, rule, rewards)
    unsafe_PN = truth_array("unsafe", unsafe, 2)
    if len(unsafe_PN) != len(chosen_P) or unsafe_PN.shape[1] < num_candidates:
        raise UserError(f"unsafe {list(unsafe_PN.shape)}: one label per prompt and candidate is needed, as in accepted")
    emitted_P = chosen_P >= 0
    harmed_P = unsafe_PN[np.arange(len(chosen_P)), np.maximum(chosen_P, 0)] & emitted_P
    count = int(emitted_P.sum()) if given_emitted else len(chosen_P)
    words = f"unsafe and emitted, {rule} of N = {num_candidates}" + (", of those emitted" if given_emitted else "")
    return rate_estimate(int(harmed_P.sum()), count, confidence, words)


def emitted_unsafe_union(accepted_unsafe_upper: float, num_candidates: int) -> float:
    """``min(1, N u)``, for any rule: u bounds P(one candidate is unsafe and accepted). Crude, but needs no N_max."""
    if not 0 <= accepted_unsafe_upper <= 1:
        raise UserError(f"accepted_unsafe_upper={accepted_unsafe_upper}: a probability lies in [0, 1]")
    if num_candidates < 1:
        raise UserError(f"num_candidates={num_candidates}: at least 1")
    return min(1.0, num_candidates * accepted_unsafe_upper)


def _first(accepted: ArrayLike, num_candidates: int) -> NDArray[np.bool_]:
    accepted_PN = truth_array("accepted", accepted, 2)
    if not 1 <= num_candidates <= accepted_PN.shape[1]:
        raise UserError(
            f"num_candidates={num_candidates}: {accepted_PN.shape[1]} candidates were drawn per calibration prompt; "
            "choose 1 or more and no more than these"
        )
    return accepted_PN[:, :num_candidates]
