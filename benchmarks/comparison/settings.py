"""The settings that are compared: a name, a family and the overrides that make one.

Multipliers of the fixed strategies are multiples of the estimated λ*: ``margin-x2`` has λ = 2 λ*. Those that find their
multiplier themselves, and the two probes that λ* is estimated from, need no estimate.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from csrlhf.errors import UserError
from csrlhf.penalties.base import GATES

MULTIPLES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LEARNING_RATES = (0.1, 0.3, 1.0)

SCALED = {
    "linear": ("linear", ("penalty=linear",)),
    "p3o": ("p3o", ("penalty=p3o",)),
    "plain": ("hinge", ("penalty=rectified", "penalty.margin_z=0", "penalty.ema=0")),
    "margin": ("smoothed hinge", ("penalty=rectified", "penalty.margin_z=2", "penalty.ema=0")),
    "ema": ("smoothed hinge", ("penalty=rectified", "penalty.margin_z=0", "penalty.ema=0.9")),
    "adaptive": ("smoothed hinge", ("penalty=adaptive",)),
}
"""Strategies whose multiplier is a multiple of λ*: their family and overrides. ``adaptive`` starts there."""

HARMFUL = ("constraints.harm.where={category: [harmful]}",)
"""A threshold for the harmful prompts alone: 3 % over all of the toy world's is 6.7 % of these."""

DUAL = "lagrangian-lr1"
"""The dual run whose multiplier estimates λ*: the largest step, which has the longest tail after its overshoot."""

PROBE_MULTIPLIER = 8.0
PROBE = "probe"
"""A gate without margin and with a multiplier well above λ*, which sees other prompts than it acts on: its duty cycle
brackets λ*."""

SCREEN = (
    *("none", "linear-x2", "lagrangian-lr0.1", "lagrangian-lr0.3", "lagrangian-lr1", "pid", "augmented_lagrangian"),
    *("p3o-x2", "plain-x0.5", "plain-x2", "plain-x10", "margin-x2", "margin-x5", "ema-x2", "adaptive-x1"),
)
"""What the first phase runs."""


@dataclass(frozen=True)
class Setting:
    """One column of a comparison.

    Example: ``Setting("linear-x2", "linear", ("penalty=linear", "penalty.multiplier=3.2"))``.

    Attributes:
        name: of the run; a word.
        family: settings of one family share a colour, and send one finalist.
        overrides: of the stages ppo and evaluate.
        cost_loss: loss of the cost model that the run is trained on and judged by.
    """

    name: str
    family: str
    overrides: tuple[str, ...]
    cost_loss: str = "semantic"


def unscaled() -> dict[str, Setting]:
    """The settings that need no λ*, by name: no penalty, moving multipliers, the probe."""
    dual = [(f"lagrangian-lr{lr:g}", ("penalty=lagrangian", f"penalty.lr={lr:g}")) for lr in LEARNING_RATES]
    moving = [*dual, ("pid", ("penalty=pid",)), ("augmented_lagrangian", ("penalty=augmented_lagrangian",))]
    fixed = f"penalty.multiplier={PROBE_MULTIPLIER:g}", "penalty.normaliser=fixed"
    probe = (*SCALED["plain"][1], *fixed, "penalty.gate=leave_one_out")
    # the default penalty: with each gate, and with each estimator that needs no critic
    gates = [(f"gate-{gate}", "gate", (f"penalty.gate={gate}",)) for gate in GATES]
    groups = ("ppo.samples_per_prompt=4",)  # repo judges a prompt by its responses: by one alone it cannot learn
    critic_free = [(name, "critic-free", (f"advantage={name}", *groups)) for name in ("rloo", "grpo")]
    repo = "penalty=repo", "penalty.multiplier=8.0", "penalty.lr=1.0", "penalty.tolerance=0.03"
    settings = [
        Setting("none", "none", ("penalty=none",)),
        *(Setting(name, "dual", overrides) for name, overrides in moving),
        Setting(PROBE, "hinge", probe),
        *(Setting(*one) for one in (*gates, *critic_free)),
        # no harmless prompt pays for a harmful one: a constraint on the harmful ones alone, or on each prompt
        Setting("harmful-d0.05", "conditional", (*HARMFUL, "constraints.harm.threshold=0.05")),
        Setting("repo", "per prompt", (*repo, *groups)),
    ]
    return {setting.name: setting for setting in settings}


def scaled(lambda_star: float) -> dict[str, Setting]:
    """The settings whose multiplier is a multiple of λ*, by name."""
    settings = [
        Setting(f"{name}-x{multiple:g}", family, (*words, f"penalty.multiplier={multiple * lambda_star:.4g}"))
        for name, (family, words) in SCALED.items()
        for multiple in MULTIPLES
    ]
    return {setting.name: setting for setting in settings}


def penalty_settings(lambda_star: float | None) -> dict[str, Setting]:
    """All settings of the comparison of penalties that are known by now."""
    return unscaled() | ({} if lambda_star is None else scaled(lambda_star))


def penalty_names() -> list[str]:
    """The names of all settings, whatever λ* is."""
    return list(penalty_settings(1.0))


def loss_settings() -> dict[str, Setting]:
    """Two cost losses by two penalties, each penalty as its own YAML has it."""
    settings = [
        Setting(f"{loss}-{penalty}", penalty, (f"penalty={penalty}",), cost_loss=loss)
        for loss in ("semantic", "pairwise")
        for penalty in ("rectified", "lagrangian")
    ]
    return {setting.name: setting for setting in settings}


def choose(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that fit a pattern (``plain-*``, or ``all``), in the order of ``names``.

    Raises:
        UserError: a pattern fits none of them.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(names, "*" if pattern == "all" else pattern)
        if not found:
            raise UserError(f"--settings {pattern}: there is no such setting; there are {', '.join(names)}")
        chosen.update(found)
    return [name for name in names if name in chosen]
