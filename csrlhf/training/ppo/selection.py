"""Checkpoint selection: the best feasible policy of a run, else the least violating.

Whoever looks at many policies and takes the best finds one that was lucky. So the evaluations of a run only make a
shortlist: for each of a few screening confidences the policy with the highest reward of those whose upper bound on J
lies under the threshold. At the end these are tested on prompts that no evaluation has used, the surest first, each at
the whole confidence, up to the first that fails; the last that passes is handed over (csrlhf/stats/sequence.py). Where
there are too few prompts for that, the bound of every evaluation pays for all of them (union bound). Which is sharper
when: docs/explanation/selection.md, by ``python -m benchmarks.selection``.

The last policy is kept beside the selected one: a fixed-λ gate hovers, and its last iterate is noisy.

Legend: K constraints.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from csrlhf.constraints.set import Constraints
from csrlhf.constraints.where import select
from csrlhf.errors import InputWarning, UserError
from csrlhf.stats.bounds import clopper_pearson_upper, least_count
from csrlhf.stats.sequence import last_passed
from csrlhf.training.ppo.collapse import CollapseCheck, RewardDrop
from csrlhf.training.ppo.config import SelectionSettings
from csrlhf.training.ppo.validation import ValidationResult
from csrlhf.types import PromptRow


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


def excess_of(result: ValidationResult, confidence: float) -> float:
    """An upper bound, at the confidence, on how far the policy is above a threshold, whichever is the worst.

    It is not split among the constraints: the bound on the constraint that is truly the worst holds with this
    confidence, and the largest is no smaller.
    """
    bounds = result.upper_bound_K(confidence)
    return max(bound - threshold for bound, threshold in zip(bounds, result.threshold_K, strict=True))


class Selection:
    """Keeps the shortlist, and says at the end which policy of it is handed over.

    Attributes:
        confidences: of the shortlist's places, the surest first.
        shortlist: the policy in each place; one may stand in several.
        start: the policy before any update.
        last: the policy of the newest evaluation.
        chosen: the policy that is handed over, once that is decided.
    """

    def __init__(self, settings: SelectionSettings) -> None:
        """Build the rule for a single evaluation; ``begin`` says what the run has in mind."""
        self.settings = settings
        self.collapse = CollapseCheck(settings)
        self.reward_drop = RewardDrop(settings.max_reward_drop)
        self.start: Candidate | None = None
        self.last: Candidate | None = None
        self.chosen: Candidate | None = None
        self.begin(num_looks=1)

    def begin(self, num_looks: int, num_confirmation: int = 0, constrained: bool = True) -> None:
        """Start a run.

        Args:
            num_looks: evaluations, that of the start policy among them.
            num_confirmation: prompts set aside for the confirmation; 0 for none.
            constrained: False ranks by reward alone: a strategy that ignores the constraints is no attempt at them.
        """
        self.num_looks, self.num_confirmation, self.constrained = num_looks, num_confirmation, constrained
        screens = self.settings.screens if num_confirmation and constrained else ()
        self.confidences = tuple(sorted({self.level, *screens}, reverse=True))
        self.shortlist: list[Candidate | None] = [None] * len(self.confidences)

    @property
    def level(self) -> float:
        """Confidence of the bounds that are shown: with a confirmation the whole, else so that all looks hold."""
        if self.num_confirmation:
            return self.settings.confidence
        return 1 - (1 - self.settings.confidence) / self.num_looks

    @property
    def best(self) -> Candidate | None:
        """The policy that is handed over; until that is decided, the best so far at the level that is shown."""
        return self.chosen or self.shortlist[self.confidences.index(self.level)]

    @property
    def kept(self) -> set[int]:
        """The iterations whose policies are needed."""
        return {candidate.iteration for candidate in self.shortlist if candidate is not None}

    @staticmethod
    def folder(work: Path) -> Path:
        """Where the selected policy of a run in ``work`` stands."""
        return work / "best"

    def consider(self, iteration: int, result: ValidationResult) -> None:
        """Take an evaluation in.

        A collapsed policy takes no other's place (unless ``on_collapse`` is ``ignore``): one that refuses everything
        violates nothing, and would be selected.
        """
        self.collapse.look(result)
        self.reward_drop.remember(result)
        self.last = Candidate(iteration, result.reward, excess_of(result, self.level))
        if self.start is None and iteration == 0:
            self.start = self.last
        for place, confidence in enumerate(self.confidences):
            held = self.shortlist[place]
            candidate = replace(self.last, excess=excess_of(result, confidence))
            if not (self.collapse.bars and held is not None) and candidate.beats(held, self.constrained):
                self.shortlist[place] = candidate

    def in_order(self) -> list[Candidate]:
        """The policies to be confirmed, each once, the surest first."""
        found = {candidate.iteration: candidate for candidate in reversed(self.shortlist) if candidate is not None}
        order = dict.fromkeys(candidate.iteration for candidate in self.shortlist if candidate is not None)
        return [found[iteration] for iteration in order]

    def settle(self, excesses: Sequence[float] = ()) -> Candidate | None:
        """Decide which policy is handed over.

        Args:
            excesses: of the confirmation, in the shortlist's order up to the first above 0; none where there was none.

        Returns:
            The policy with the bound on its excess; None where nothing was evaluated.
        """
        if not excesses:
            self.chosen = self.best
            return self.chosen
        place, excess = last_passed(excesses)
        self.chosen = replace(self.in_order()[place], excess=excess)
        return self.chosen

    def forget(self, iterations: set[int]) -> None:
        """Take policies off the shortlist whose weights are gone."""
        self.shortlist = [
            None if candidate is not None and candidate.iteration in iterations else candidate
            for candidate in self.shortlist
        ]

    def metrics(self) -> dict[str, float]:
        """Logged at each evaluation."""
        assert self.last is not None
        best = self.best or self.last  # after a resume without the earlier policies' weights
        return {
            "selection/iteration": float(self.last.iteration),
            "selection/excess": self.last.excess,
            "selection/feasible": float(self.last.feasible),
            "selection/best_iteration": float(best.iteration),
            "selection/collapsed": float(self.collapse.found is not None),
            "selection/score": self.score(best),
            "selection/reward_drop": self.reward_drop.size(best.reward),
        }

    def score(self, candidate: Candidate) -> float:
        """A single number for comparing runs: the reward, less the price of what is infeasible."""
        return candidate.reward - self.settings.price * max(0.0, candidate.excess)

    def check_reward(self) -> None:
        """At the end of a run: warn if the selected policy has clearly less reward than the start policy."""
        if self.best is not None:
            self.reward_drop.warn(self.best.reward)

    def final_metrics(self) -> dict[str, float]:
        """The selected policy of the run, the start policy and the last one."""
        if self.best is None or self.last is None:
            return {}
        metrics = {
            "selection/best_iteration": float(self.best.iteration),
            "selection/best_reward": self.best.reward,
            "selection/best_excess": self.best.excess,
            "selection/best_feasible": float(self.best.feasible),
            "selection/last_reward": self.last.reward,
            "selection/last_excess": self.last.excess,
            "selection/last_feasible": float(self.last.feasible),
            "selection/score": self.score(self.best),
            "selection/reward_drop": self.reward_drop.size(self.best.reward),
            "selection/num_confirmation": float(self.num_confirmation),
        }
        if self.start is not None:
            metrics |= {
                "selection/start_reward": self.start.reward,
                "selection/start_excess": self.start.excess,
                "selection/start_feasible": float(self.start.feasible),
            }
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for the checkpoint."""
        return {
            "shortlist": [None if candidate is None else asdict(candidate) for candidate in self.shortlist],
            "start": None if self.start is None else asdict(self.start),
            "last": None if self.last is None else asdict(self.last),
            "start_distinct": self.collapse.start_distinct,
            "reward_drop": self.reward_drop.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        shortlist = [None if candidate is None else Candidate(**candidate) for candidate in state["shortlist"]]
        if len(shortlist) == len(self.shortlist):
            self.shortlist = shortlist
        elif self.num_looks > 1:  # a run; a single evaluation ranks nothing
            warnings.warn(
                f"the checkpoint's shortlist has {len(shortlist)} places, ppo.selection.screens and "
                f"ppo.num_confirmation ask for {len(self.shortlist)}: policies of earlier evaluations are left out",
                InputWarning,
                stacklevel=2,
            )
        self.start = None if state["start"] is None else Candidate(**state["start"])
        self.last = None if state["last"] is None else Candidate(**state["last"])
        self.collapse.start_distinct = state["start_distinct"]
        self.reward_drop.load_state_dict(state["reward_drop"])


def check_reachable(
    constraints: Constraints,
    confidence: float,
    prompts: Sequence[PromptRow],
    key: str = "ppo.num_validation",
    looks: int = 1,
) -> None:
    """Raise a UserError where even a policy without a violation could not be shown to stay under a threshold.

    Args:
        constraints: of the run. A rate has a bound above 0 even without a violation; other statistics only need
            enough responses to be defined, and two for a spread.
        confidence: of the one-sided bound.
        prompts: that it is made of; a constraint that is about some of them counts these.
        key: of the setting that says how many.
        looks: evaluations among which δ is shared.
    """
    check_defined(constraints, prompts, key)
    for name, constraint, num_prompts in counted(constraints, prompts):
        best = clopper_pearson_upper(0, num_prompts, confidence)
        if not constraint.is_rate or best <= constraint.threshold:
            continue
        needed = least_count(constraint.threshold, confidence) * len(prompts) / max(num_prompts, 1)
        more = f"{key}={math.ceil(needed)} or more, " if math.isfinite(needed) else ""
        among = f" at each of {looks} evaluations" if looks > 1 else ""
        raise UserError(
            f"constraints.{name}.threshold={constraint.threshold:g} is out of reach: even without a violation "
            f"{num_prompts} validation prompts bound the rate by {best:.3f}{among}, so no policy could be found "
            f"feasible; set {more}a larger threshold, or a smaller ppo.selection.confidence"
        )


def counted(constraints: Constraints, prompts: Sequence[PromptRow]) -> Iterator[tuple[str, Any, int]]:
    """Each constraint with its name and the number of prompts that it is about."""
    kinds = constraints.kinds
    for name, constraint in zip(constraints.names, constraints, strict=True):
        yield name, constraint, sum(select(name, kinds[name], prompts)) if name in kinds else len(prompts)


def check_defined(constraints: Constraints, prompts: Sequence[PromptRow], key: str = "ppo.num_validation") -> None:
    """Raise a UserError where prompts are too few for a constraint's statistic; arguments as above."""
    for name, constraint, num_prompts in counted(constraints, prompts):
        least = max(constraint.least_count, 1 if constraint.is_rate else 2)
        if num_prompts < least:
            raise UserError(
                f"{key}={len(prompts)}: {num_prompts} validation prompts bound no statistic of "
                f"constraints.{name}, which needs {least} or more"
            )


def copy_folder(source: Path, target: Path) -> None:
    """Copy a model folder into an existing one."""
    shutil.copytree(source, target, dirs_exist_ok=True)
