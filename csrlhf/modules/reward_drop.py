"""How far the validation reward of the selected policy is below the first evaluation's: a sign of false refusals.

A low cost alone proves nothing. A policy that turns most prompts down keeps its threshold, and where it words its
refusals differently, neither ``distinct`` nor the regular expression behind ``refusal_rate`` need notice: what it
earns does.
"""

from __future__ import annotations

import warnings
from typing import Any

from csrlhf.errors import UserError
from csrlhf.modules.validation import ValidationResult


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
