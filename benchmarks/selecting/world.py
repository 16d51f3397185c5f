"""Simulated runs: how the true unsafe rate goes over the evaluations, and what the evaluations see of it.

All responses to a prompt are alike, at one evaluation and the next: a prompt that is answered unsafely by one policy is
so by the policy five iterations on, more often than another. A latent normal number per prompt and evaluation, partly
shared by all evaluations and partly an autoregression, is compared with the rate's quantile.

Legend of suffixes: R replicates, L evaluations (the start policy's first), N prompts of an evaluation, M prompts of the
confirmation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
THRESHOLD, CONFIDENCE = 0.03, 0.95
START, LOOKS = 0.25, 24
"""Unsafe rate of the start policy, and evaluations after it: those of the toy world's recipe."""

PRICE, SPREAD = 8.0, 0.45
"""What a unit of unsafe rate earns, and the deviation of a prompt's reward that differs between evaluations."""


@dataclass(frozen=True)
class Run:
    """How a run goes.

    Attributes:
        rate_L: the true unsafe rate of each evaluation's policy.
        reward_L: its true mean reward: it grows over the run, and harm pays.
    """

    rate_L: Vector
    reward_L: Vector

    @classmethod
    def of(cls, rate_L: Vector) -> Run:
        """A run with these rates."""
        return cls(rate_L, 1.5 * (1 - np.exp(-np.arange(len(rate_L)) / 8)) + PRICE * (rate_L - THRESHOLD))

    @property
    def feasible_L(self) -> NDArray[np.bool_]:
        return self.rate_L <= THRESHOLD


def flat(level: float, looks: int = LOOKS) -> Run:
    """Everything that comes after the start policy is at one rate."""
    return Run.of(np.concatenate([[START], np.full(looks, level)]))


def falling(level: float, looks: int = LOOKS) -> Run:
    """The rate falls to a level and stays there."""
    return Run.of(level + (START - level) * np.exp(-np.arange(looks + 1) / 3))


def hovering(level: float, looks: int = LOOKS) -> Run:
    """It falls fast, and then swings by 0.7 points to both sides of the level: a gate chatters."""
    look_L = np.arange(looks + 1)
    swing_L = 0.007 * np.sin(2.1 * look_L) * (look_L > 3)
    return Run.of(level + (START - level) * np.exp(-look_L / 1.5) + swing_L)


def overshooting(level: float, looks: int = LOOKS) -> Run:
    """It falls far below, and comes back to the level while the reward grows: a dual that aims at d."""
    look_L = np.arange(looks + 1)
    lowest = START * np.exp(-4)
    back_L = level - (level - lowest) * np.exp(-(look_L - 5) / 4)
    return Run.of(np.where(look_L < 6, START * np.exp(-0.75 * look_L), back_L))


@dataclass(frozen=True)
class Seen:
    """What the evaluations and the confirmation show.

    Attributes:
        hits_RL: unsafe responses at each evaluation.
        reward_RL: mean validation reward.
        unsafe_RLM: each response of the confirmation, were every policy confirmed.
        num_prompts: of an evaluation.
    """

    hits_RL: NDArray[np.int64]
    reward_RL: Vector
    unsafe_RLM: NDArray[np.bool_]
    num_prompts: int


def simulate(
    run: Run,
    num_prompts: int,
    num_confirmation: int,
    replicates: int,
    seed: int = 0,
    shared: float = 0.5,
    memory: float = 0.8,
    chunk: int = 100,
) -> Iterator[Seen]:
    """What replicates of a run show, some at a time.

    Args:
        run: the truth.
        num_prompts: N.
        num_confirmation: M.
        replicates: R in all.
        seed: of everything.
        shared: share of a prompt's latent variance that all evaluations have in common; 0 for none.
        memory: correlation of the rest from one evaluation to the next; with both 0 evaluations are independent.
        chunk: replicates at a time.
    """
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    cut_L, looks = norm.isf(run.rate_L), len(run.rate_L)
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        unsafe_RLX = np.empty((size, looks, num_prompts + num_confirmation), dtype=bool)
        own_RX, rest_RX = (rng.standard_normal((size, num_prompts + num_confirmation), dtype=np.float32) for _ in "ab")
        for look in range(looks):
            if look:
                fresh_RX = rng.standard_normal(rest_RX.shape, dtype=np.float32)
                rest_RX = memory * rest_RX + np.sqrt(1 - memory**2) * fresh_RX
            unsafe_RLX[:, look] = np.sqrt(shared) * own_RX + np.sqrt(1 - shared) * rest_RX > cut_L[look]
        noise_RL = rng.standard_normal((size, looks)) * SPREAD / np.sqrt(num_prompts)
        hits_RL = unsafe_RLX[:, :, :num_prompts].sum(axis=2)
        yield Seen(hits_RL, run.reward_L + noise_RL, unsafe_RLX[:, :, num_prompts:], num_prompts)
