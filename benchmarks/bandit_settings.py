"""The settings in which docs/penalties.md compares the strategies on the bandit, with what theory says of each.

The step is ``1 + λ`` times 1 (moving multipliers: ``1 + λ*``), so that constant normalisers leave all the same step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.stats import norm

from benchmarks.bandit import Path, ascend, example
from csrlhf import penalties as p
from csrlhf.penalties import Penalty

SEEDS, STEPS, BATCH = 5, 1000, 512
GATES, SMOOTH, MOVING = "gates", "smooth and always-on", "moving multipliers"
"""The panels of costs."""

BANDIT = example()
OPTIMAL = BANDIT.solve()
BEST = BANDIT.value(BANDIT.optimum(OPTIMAL))
LIMIT = BANDIT.threshold
NOISE = math.sqrt(LIMIT * (1 - LIMIT) / BATCH)  # σ / √B at the threshold


@dataclass(frozen=True)
class Setting:
    """A strategy to run.

    Attributes:
        name: in the table and the legends.
        make: builds it, fresh for each seed.
        step: on the logits.
        panel: where its cost is drawn; empty for the table alone.
        predicted: the cost where theory says that it ends; None where it says nothing simple.
        epochs: steps on each batch.
    """

    name: str
    make: Callable[[], Penalty]
    step: float
    panel: str = ""
    predicted: float | None = None
    epochs: int = 1


def chatter(duty: float) -> float:
    """The mean cost at which a gate on one batch is open for this share of the iterations."""
    return LIMIT + NOISE * float(norm.ppf(duty))


def settings() -> list[Setting]:
    """All of the table, in its order; multipliers in units of λ*."""
    twice = 2 * OPTIMAL
    fixed, moving = 1 + twice, 1 + OPTIMAL
    linear = {ratio: BANDIT.cost(BANDIT.optimum(ratio * OPTIMAL)) for ratio in (0.0, 0.5, 2.0 * (1 - LIMIT), 2.0)}
    squared = 30.0
    return [
        Setting("rectified 2 λ*", lambda: p.Rectified(twice, margin_z=0.0), fixed, GATES, LIMIT),
        Setting("rectified 2 λ*, margin_z 2", lambda: p.Rectified(twice, 2.0), fixed, GATES, LIMIT - 2 * NOISE),
        Setting("rectified 4 λ*", lambda: p.Rectified(2 * twice, margin_z=0.0), 1 + 2 * twice, "", chatter(1 / 4)),
        Setting(
            "rectified 4 λ*, normaliser weights",
            lambda: p.Rectified(2 * twice, margin_z=0.0, normaliser="weights"),
            1.0,
            "",
            chatter(OPTIMAL * (1 + 2 * twice) / (2 * twice * (1 + OPTIMAL))),
        ),
        Setting(
            "rectified 0.5 λ*", lambda: p.Rectified(OPTIMAL / 2, margin_z=0.0), 1 + OPTIMAL / 2, GATES, linear[0.5]
        ),
        Setting("p3o 2 λ*, 4 epochs", lambda: p.P3O(twice), fixed, GATES, LIMIT, epochs=4),
        Setting("switching", p.Switching, 1.0, GATES, chatter(OPTIMAL / (1 + OPTIMAL))),
        Setting("adaptive", lambda: p.Adaptive(1.0, margin_z=0.0), fixed, MOVING, LIMIT),
        Setting("lagrangian log, lr 0.1", lambda: p.Lagrangian(1.0, 0.1), moving, MOVING, LIMIT),
        Setting("lagrangian log, lr 0.4", lambda: p.Lagrangian(1.0, 0.4), moving, "", LIMIT),
        Setting("lagrangian projected, lr 0.4", lambda: p.Lagrangian(1.0, 0.4, "projected"), moving, "", LIMIT),
        Setting("pid", p.PID, moving, MOVING, LIMIT),
        Setting("augmented_lagrangian", lambda: p.AugmentedLagrangian(1.0, 1.0), moving, MOVING, LIMIT),
        Setting("softplus 2 λ*", lambda: p.Softplus(twice), fixed, SMOOTH, LIMIT),
        Setting("huber 2 λ*", lambda: p.Huber(twice), fixed, SMOOTH, LIMIT + 0.02 / 2),
        Setting(
            f"squared {squared:g}", lambda: p.Squared(squared), 1 + squared, SMOOTH, LIMIT + OPTIMAL / (2 * squared)
        ),
        Setting("log_barrier 4 λ*, t 20", lambda: p.LogBarrier(2 * twice), 1 + 2 * twice, SMOOTH, None),
        Setting("linear λ*", lambda: p.Linear(OPTIMAL), moving, "", LIMIT),
        Setting("linear 2 λ*", lambda: p.Linear(twice), fixed, "", linear[2.0]),
        Setting("sample_hinge 2 λ*", lambda: p.SampleHinge(twice), fixed, SMOOTH, linear[2.0 * (1 - LIMIT)]),
        Setting("none", p.NoPenalty, 1.0, "", linear[0.0]),
    ]


def run(setting: Setting, steps: int = STEPS, seeds: int = SEEDS) -> list[Path]:
    """A setting with all seeds."""
    return [
        ascend(BANDIT, setting.make(), steps, setting.step, BATCH, epochs=setting.epochs, seed=seed)
        for seed in range(seeds)
    ]
