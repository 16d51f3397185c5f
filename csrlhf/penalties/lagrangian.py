"""``lagrangian``: Safe-RLHF's dual variable (arXiv 2310.12773), updated by the violation it sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import Multiplier, Penalty, Weights, check_ceiling, check_choice

RULES = ("log", "projected")


class Lagrangian(Penalty):
    """Cost weight λ, reward weight 1, normaliser 1 + Σ λ (it moves with λ).

    Rules: ``log`` is ascent on ν = log λ, ``ν <- ν + η λ v`` (the gradient of λ v by ν; it dies as λ -> 0,
    hence the floor); ``projected`` is ``λ <- max(0, λ + η v)``.
    """

    num_updates: Tensor

    def __init__(
        self,
        multiplier: Multiplier = 1.0,
        lr: float = 1.0,
        rule: str = "log",
        max_multiplier: float = 100.0,
        min_multiplier: float = 1e-4,
        delay: int = 0,
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ at the start.
            lr: η, the dual step.
            rule: ``log`` or ``projected``.
            max_multiplier: λ never exceeds it.
            min_multiplier: floor of the log rule.
            delay: iterations before the first dual step.
        """
        super().__init__(multiplier)
        self.rule = check_choice("penalty.rule", rule, RULES)
        if not 0 < lr < math.inf:
            raise UserError(f"penalty.lr={lr}: the dual step must be a positive number")
        if not 0 < min_multiplier < max_multiplier < math.inf:
            raise UserError(
                f"penalty.min_multiplier={min_multiplier}, penalty.max_multiplier={max_multiplier}: "
                "both must be positive numbers, the first below the second"
            )
        if delay < 0:
            raise UserError(f"penalty.delay={delay}: must be >= 0 iterations")
        self.lr, self.delay = float(lr), int(delay)
        self.min_multiplier, self.max_multiplier = float(min_multiplier), float(max_multiplier)

    def setup(self, constraints: Sequence[str]) -> None:
        """Register λ and the count of updates seen; refuse a start at 0 (the log rule stays there) or out of bounds."""
        super().setup(constraints)
        if self.rule == "log" and bool((self.multiplier_K <= 0).any()):
            raise UserError(
                "penalty.multiplier: the log rule cannot leave 0; start above it, or use penalty.rule=projected"
            )
        if self.rule == "log" and bool((self.multiplier_K < self.min_multiplier).any()):
            raise UserError(
                f"penalty.multiplier={min(self.multiplier_K.tolist()):g}: starts below "
                f"penalty.min_multiplier={self.min_multiplier:g}, to which it would be raised; change one of them"
            )
        check_ceiling(self.multiplier_K, self.max_multiplier)
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """λ as it stands; see the base class."""
        return Weights(torch.ones_like(self.multiplier_K[0]), self.multiplier_K.clone())

    def update(self, violation_K: Tensor) -> None:
        """One dual step per iteration, from the rank-averaged violation."""
        self.num_updates += 1
        if int(self.num_updates) <= self.delay:
            return
        if self.rule == "log":
            log_K = self.multiplier_K.log() + self.lr * self.multiplier_K * violation_K
            moved_K = log_K.clamp(math.log(self.min_multiplier), math.log(self.max_multiplier)).exp()
        else:
            moved_K = (self.multiplier_K + self.lr * violation_K).clamp(0.0, self.max_multiplier)
        self.multiplier_K.copy_(moved_K)
