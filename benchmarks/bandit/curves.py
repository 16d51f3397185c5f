"""The settings in which docs/reference/penalties.md compares the strategies on the bandit, and their figure.

Legend of suffixes: S steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from benchmarks.bandit.problem import Path, ascend, example
from csrlhf import penalties as p
from csrlhf.penalties import Penalty

# What is compared, with what theory says of each.
#
# The step is ``1 + λ`` times 1 (moving multipliers: ``1 + λ*``), so that constant normalisers leave all the same step.

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
    half, twice = OPTIMAL / 2, 2 * OPTIMAL
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
        Setting("rectified 0.5 λ*", lambda: p.Rectified(half, margin_z=0.0), 1 + half, GATES, linear[0.5]),
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


SHOWN = 300
"""Iterations that are drawn; what follows looks like their end."""

COLORS = ["#1f6fb4", "#d1495b", "#2a9d6f", "#8a5fbf", "#e08a1e", "#555555"]


def draw(found: list[tuple[Setting, list[Path]]], path: File) -> None:
    """Six panels: weights against the violation, three of costs, the multipliers, and where all of them end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(14.5, 8.0))
    (weights, gates, smooth), (moving, multipliers, ends) = axes
    draw_weights(weights)
    for axis, title in ((gates, GATES), (smooth, SMOOTH), (moving, MOVING)):
        shown = [(setting, paths[0]) for setting, paths in found if setting.panel == title]
        for color, (setting, one) in zip(COLORS, shown, strict=False):
            axis.plot(one.cost_S[:SHOWN], color=color, linewidth=1.2, label=setting.name)
        axis.axhline(LIMIT, color="#222222", linestyle="--", linewidth=1.0, label="threshold d")
        axis.set(ylim=(0, 0.55), xlabel="iteration", ylabel="cost J")
        axis.set_title(f"Cost: {title}", loc="left", fontsize=10, fontweight="bold")
    for color, (setting, paths) in zip(COLORS, [one for one in found if one[0].panel == MOVING], strict=False):
        multipliers.plot(paths[0].multiplier_S[:SHOWN] / OPTIMAL, color=color, linewidth=1.2, label=setting.name)
    multipliers.axhline(1.0, color="#222222", linestyle="--", linewidth=1.0, label="λ*")
    multipliers.set(xlabel="iteration", ylabel="λ / λ*")
    multipliers.set_title("Moving multipliers", loc="left", fontsize=10, fontweight="bold")
    draw_ends(ends, found)
    for axis in axes.flat:
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=7.5, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_weights(axis: Any) -> None:
    """The cost weight of the strategies without a memory, at λ = 8 unless they say otherwise."""
    violation_S = np.linspace(-0.05, 0.05, 1001)
    strategies = {
        "rectified, λ 8": p.Rectified(8.0, margin_z=0.0),
        "softplus, τ 0.02": p.Softplus(),
        "huber, δ 0.02": p.Huber(),
        "squared, λ 100": p.Squared(),
        "log_barrier, t 20": p.LogBarrier(),
        "switching (reward 0 above)": p.Switching(),
    }
    for color, (name, penalty) in zip(COLORS, strategies.items(), strict=True):
        penalty.setup(["harm"])
        weight_S = [float(penalty.weights(torch.tensor([v])).cost_K[0]) for v in violation_S]
        axis.plot(violation_S, weight_S, color=color, linewidth=1.5, label=name)
    axis.set(xlabel="violation v = J - d", ylabel="cost weight")
    axis.set_title("Cost weight", loc="left", fontsize=10, fontweight="bold")


def draw_ends(axis: Any, found: list[tuple[Setting, list[Path]]]) -> None:
    """Cost and value at the end beside what is possible: the closed-form optimum for every cost."""
    frontier = [BANDIT.optimum(price) for price in np.geomspace(0.2, 8.0, 200)]
    axis.plot(
        [BANDIT.cost(policy) for policy in frontier], [BANDIT.value(policy) for policy in frontier],
        color="#999999", linewidth=1.2, label="best value at each cost",
    )  # fmt: skip
    axis.axvline(LIMIT, color="#222222", linestyle="--", linewidth=1.0, label="threshold d")
    for panel, color in zip((GATES, SMOOTH, MOVING), COLORS, strict=False):
        for setting, paths in found:
            if setting.panel == panel:
                cost, value = (
                    np.mean([one.tail(what(one)) for one in paths])
                    for what in (lambda one: one.cost_S, lambda one: one.value_S)
                )
                axis.plot(cost, value, "o", color=color, markersize=5)
                if abs(cost - LIMIT) > 0.005:  # those at the threshold would cover each other
                    axis.annotate(setting.name, (cost, value), (6, -9), textcoords="offset points", fontsize=7)
        axis.plot([], [], "o", color=color, markersize=5, label=panel)
    axis.set(xlim=(0, 0.2), ylim=(0.55, 0.95), xlabel="cost J", ylabel="value E[r] - β KL")
    axis.set_title("Where they end (last half of the steps)", loc="left", fontsize=10, fontweight="bold")
