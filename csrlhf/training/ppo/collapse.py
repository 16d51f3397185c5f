"""Signs that a policy collapses, or refuses what it should answer; a low cost alone proves nothing."""

from __future__ import annotations

import warnings
from typing import Any

from lightning import Trainer

from csrlhf.training.ppo.config import SelectionSettings
from csrlhf.training.ppo.validation import ValidationResult

# How far the validation reward of the selected policy is below the start policy's: a sign of false refusals.
#
# A low cost alone proves nothing. A policy that turns most prompts down keeps its threshold, and where it words its
# refusals differently, neither ``distinct`` nor the words behind ``refusal_rate`` need notice (a trained judge does,
# docs/how-to/refusals.md): what it earns does.


class RewardDrop:
    """Remembers the first evaluation, the start policy's; it bars no policy and stops no run."""

    def __init__(self, most: float | None) -> None:
        """Build the check; ``most`` is ``SelectionSettings.max_reward_drop``."""
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
            f"than that of the start policy ({self.start:.3g}; ppo.selection.max_reward_drop={self.most}): a sign "
            "of false refusals; read its responses, and compare the refusal rates on benign prompts in stage=evaluate",
            stacklevel=3,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for the checkpoint."""
        return {"start": self.start, "spread": self.spread}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.start, self.spread = state["start"], state["spread"]


class CollapseCheck:
    """Too few distinct responses, almost only refusals, or almost no entropy."""

    def __init__(self, settings: SelectionSettings) -> None:
        """Build the check."""
        self.settings = settings
        self.start_distinct: float | None = None
        self.found: str | None = None

    @property
    def bars(self) -> bool:
        """True where the policy of the last evaluation may take no other's place."""
        return self.found is not None and self.settings.on_collapse != "ignore"

    def look(self, result: ValidationResult) -> None:
        """Take an evaluation in; the first one says how many distinct responses are usual."""
        self.found = self._sign(result)
        if self.start_distinct is None:
            self.start_distinct = result.distinct

    def _sign(self, result: ValidationResult) -> str | None:
        if self.start_distinct is not None and result.distinct < self.settings.min_distinct * self.start_distinct:
            return f"only {result.distinct:.0%} of the responses differ (start policy: {self.start_distinct:.0%})"
        if result.refusal_rate > self.settings.max_refusal_rate:
            return f"{result.refusal_rate:.0%} of the responses refuse"
        if result.entropy < self.settings.min_entropy:
            return f"the token entropy fell to {result.entropy:.3f} nats"
        return None

    def warn(self, trainer: Trainer) -> None:
        """Warn of a collapse, and stop training where that is asked for."""
        if self.found is None or self.settings.on_collapse == "ignore":
            return
        advice = "a smaller penalty.multiplier or ppo.policy_optimizer.lr, or a larger ppo.kl_coef, may prevent it"
        warnings.warn(f"the policy collapses: {self.found}; {advice}", stacklevel=2)
        if self.settings.on_collapse == "stop":
            trainer.should_stop = True
