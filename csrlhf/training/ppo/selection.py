"""Checkpoint selection: the best feasible policy of a run, else the least violating; and the collapse check.

Feasible means that a one-sided upper bound on J, from fresh validation answers, lies under the threshold. Whoever looks
at many policies and takes the best finds one that was lucky, so the bound's error is shared out over all looks.
The last policy is kept beside it: a fixed-λ gate hovers, and its last iterate is noisy.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer

from csrlhf.errors import UserError
from csrlhf.penalties.base import check_choice
from csrlhf.stats.bounds import check_confidence
from csrlhf.training.ppo.validation import ValidationResult

# How far the validation reward of the selected policy is below the first evaluation's: a sign of false refusals.
#
# A low cost alone proves nothing. A policy that turns most prompts down keeps its threshold, and where it words its
# refusals differently, neither ``distinct`` nor the regular expression behind ``refusal_rate`` need notice: what it
# earns does.


class RewardDrop:
    """Remembers the first evaluation; it bars no policy and stops no run."""

    def __init__(self, most: float | None = 0.3) -> None:
        """Build the check.

        Args:
            most: standard deviations of the first evaluation's rewards that pass without a word; None never warns.
        """
        if most is not None and not most >= 0:
            raise UserError(f"ppo.selection.max_reward_drop={most}: must be 0 or more, or null for no warning")
        self.most = most
        self.start: float | None = None
        self.spread = 0.0

    def remember(self, result: ValidationResult) -> None:
        """Take an evaluation in; only the first one counts."""
        if self.start is None:
            self.start, self.spread = result.reward, result.reward_std

    def size(self, reward: float) -> float:
        """The drop to ``reward`` in standard deviations of single answers; 0 where all answers earned the same."""
        if self.start is None or self.spread <= 0:
            return 0.0
        return (self.start - reward) / self.spread

    def warn(self, reward: float) -> None:
        """One line if the selected policy, with this ``reward``, is clearly below the start."""
        drop = self.size(reward)
        if self.most is None or drop <= self.most:
            return
        warnings.warn(
            f"the selected policy has reward {reward:.3g} on validation prompts, {drop:.2f} standard deviations less "
            f"than that of the first evaluation ({self.start:.3g}; ppo.selection.max_reward_drop={self.most}): a sign "
            "of false refusals; read its responses, and compare the refusal rates on benign prompts in stage=evaluate",
            stacklevel=3,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for the checkpoint."""
        return {"start": self.start, "spread": self.spread}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.start, self.spread = state["start"], state["spread"]


COLLAPSE_ACTIONS = ("warn", "stop", "ignore")


@dataclass(frozen=True)
class Candidate:
    """A policy that an evaluation has seen.

    Attributes:
        iteration: of training, 0 is the start.
        reward: mean validation reward.
        excess: max over constraints of (upper bound - threshold); feasible if not above 0.
    """

    iteration: int
    reward: float
    excess: float

    @property
    def feasible(self) -> bool:
        return self.excess <= 0

    def beats(self, other: Candidate | None, constrained: bool = True) -> bool:
        """Feasible before infeasible; then the higher reward, or the smaller excess. Unconstrained: the reward."""
        if other is None:
            return True
        if not constrained:
            return self.reward > other.reward
        if self.feasible != other.feasible:
            return self.feasible
        return self.reward > other.reward if self.feasible else self.excess < other.excess


class Selection:
    """Keeps the best candidate, on disk, and watches for a collapse."""

    def __init__(
        self,
        confidence: float = 0.95,
        on_collapse: str = "warn",
        min_distinct: float = 0.25,
        max_refusal_rate: float = 0.9,
        min_entropy: float = 0.02,
        price: float = 10.0,
        max_reward_drop: float | None = 0.3,
    ) -> None:
        """Build the rule.

        Args:
            confidence: of the one-sided bounds on all constraints at all evaluations of a run together (union bound).
            on_collapse: ``warn``, ``stop`` (end training, keep the best so far) or ``ignore``.
            min_distinct: fewer distinct answers than this share of the first evaluation's is a collapse.
            max_refusal_rate: more answers with words of refusal than this is one.
            min_entropy: less token entropy (nats) than this is one.
            price: reward per unit of excess in the score by which whole runs are compared. It decides nothing here.
            max_reward_drop: of the selected policy, see :class:`RewardDrop`; None never warns.
        """
        self.confidence = check_confidence("ppo.selection.confidence", confidence)
        self.on_collapse = check_choice("ppo.selection.on_collapse", on_collapse, COLLAPSE_ACTIONS)
        for key, value in (("min_distinct", min_distinct), ("max_refusal_rate", max_refusal_rate)):
            if not 0 <= value <= 1:
                raise UserError(f"ppo.selection.{key}={value}: a share lies in [0, 1]")
        if not price >= 0:
            raise UserError(f"ppo.selection.price={price}: must be 0 or more")
        self.price = price
        self.reward_drop = RewardDrop(max_reward_drop)
        self.min_distinct, self.max_refusal_rate, self.min_entropy = min_distinct, max_refusal_rate, min_entropy
        self.num_looks = 1
        self.best: Candidate | None = None
        self.last: Candidate | None = None
        self.start_distinct: float | None = None
        self.collapse: str | None = None

    def level(self, num_constraints: int) -> float:
        """Confidence of one bound at one look, so that all bounds of the run hold together with ``confidence``."""
        return 1 - (1 - self.confidence) / (self.num_looks * num_constraints)

    @staticmethod
    def folder(work: Path) -> Path:
        """Where the best policy of a run in ``work`` stands."""
        return work / "best"

    def consider(
        self, iteration: int, result: ValidationResult, save: Callable[[], None], constrained: bool = True
    ) -> None:
        """Take an evaluation in; ``save`` is called where it is the best so far.

        ``constrained=False`` ranks by reward alone: a strategy that ignores the constraints is no attempt at them. A
        collapsed policy takes no other's place (unless ``on_collapse`` is ``ignore``): one that refuses everything
        violates nothing, and would be selected.
        """
        bounds = result.upper_bound_K(self.level(len(result.threshold_K)))
        excess = max(bound - threshold for bound, threshold in zip(bounds, result.threshold_K, strict=True))
        self.last = Candidate(iteration, result.reward, excess)
        self.collapse = self._collapse(result)
        self.reward_drop.remember(result)
        barred = self.collapse is not None and self.on_collapse != "ignore" and self.best is not None
        if not barred and self.last.beats(self.best, constrained):
            self.best = self.last
            save()
        if self.start_distinct is None:
            self.start_distinct = result.distinct

    def _collapse(self, result: ValidationResult) -> str | None:
        if self.start_distinct is not None and result.distinct < self.min_distinct * self.start_distinct:
            return f"only {result.distinct:.0%} of the responses differ (first evaluation: {self.start_distinct:.0%})"
        if result.refusal_rate > self.max_refusal_rate:
            return f"{result.refusal_rate:.0%} of the responses refuse"
        if result.entropy < self.min_entropy:
            return f"the token entropy fell to {result.entropy:.3f} nats"
        return None

    def check_collapse(self, trainer: Trainer) -> None:
        """Warn of a collapse, and stop training where that is asked for."""
        if self.collapse is None or self.on_collapse == "ignore":
            return
        advice = "a smaller penalty.multiplier or ppo.policy_optimizer.lr, or a larger ppo.kl_coef, may prevent it"
        warnings.warn(f"the policy collapses: {self.collapse}; {advice}", stacklevel=2)
        if self.on_collapse == "stop":
            trainer.should_stop = True

    def metrics(self) -> dict[str, float]:
        """Logged at each evaluation."""
        assert self.last is not None
        assert self.best is not None
        return {
            "selection/excess": self.last.excess,
            "selection/feasible": float(self.last.feasible),
            "selection/best_iteration": float(self.best.iteration),
            "selection/collapsed": float(self.collapse is not None),
            "selection/score": self.best.reward - self.price * max(0.0, self.best.excess),
            "selection/reward_drop": self.reward_drop.size(self.best.reward),
        }

    def check_reward(self) -> None:
        """At the end of a run: warn if the selected policy has clearly less reward than the first one seen."""
        if self.best is not None:
            self.reward_drop.warn(self.best.reward)

    def final_metrics(self) -> dict[str, float]:
        """The selected policy of the run, and its last one."""
        if self.best is None or self.last is None:
            return {}
        return {
            "selection/best_reward": self.best.reward,
            "selection/best_excess": self.best.excess,
            "selection/best_feasible": float(self.best.feasible),
            "selection/last_reward": self.last.reward,
            "selection/last_excess": self.last.excess,
            "selection/last_feasible": float(self.last.feasible),
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for the checkpoint."""
        return {
            "best": None if self.best is None else asdict(self.best),
            "last": None if self.last is None else asdict(self.last),
            "start_distinct": self.start_distinct,
            "reward_drop": self.reward_drop.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best = None if state["best"] is None else Candidate(**state["best"])
        self.last = None if state["last"] is None else Candidate(**state["last"])
        self.start_distinct = state["start_distinct"]
        self.reward_drop.load_state_dict(state["reward_drop"])


def copy_folder(source: Path, target: Path) -> None:
    """Copy a model folder into an existing one."""
    shutil.copytree(source, target, dirs_exist_ok=True)
