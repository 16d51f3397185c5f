"""``rectified``: CS-RLHF's fixed-λ exact penalty, ``λ · relu(J - d)`` on the batch (arXiv 2510.03520).

Its gradient is a gate, λ or 0, on the rank-averaged batch; a per-sample hinge would be another objective.
Beside the paper's plain gate stand a safety margin and a smoothed gate, because the plain one opens and
closes on a noisy batch mean and hovers at the threshold (docs/explanation/algorithm.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import GATES, NORMALISERS, Multiplier, Penalty, Weights, check_choice, constant_normaliser


class Rectified(Penalty):
    """Cost weight ``λ · 1[v + m > 0]``, reward weight 1.

    The normaliser is constant by default: one that follows the gate reaches stationarity at the duty cycle
    ``λ*(1+λ) / (λ(1+λ*))`` instead of ``λ*/λ``, and so parks the cost above d however large λ is.
    """

    gated = True

    violation_ema_K: Tensor
    num_updates: Tensor

    def __init__(
        self,
        multiplier: Multiplier = 8.0,
        margin_z: float = 2.0,
        ema: float = 0.0,
        normaliser: str = "fixed",
        gate: str = "leave_one_out",
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ, to be chosen above the optimal dual variable λ*.
            margin_z: z of the margin ``z · se(J)``; 0 is the paper's gate. In standard errors, and not on the
                threshold's scale, so that no threshold is too small for the gate to close.
            ema: decay in [0, 1) of the average of v that the gate looks at; 0 looks at this batch alone.
            normaliser: ``fixed`` = 1 + Σ λ, ``none`` = 1 (the paper's text), ``weights`` = w_r + Σ w_k.
            gate: which answers it looks at: ``batch`` (the paper's), ``leave_one_out``, ``held_out`` or ``previous``.
        """
        super().__init__(multiplier)
        if not 0 <= margin_z < math.inf:
            raise UserError(f"penalty.margin_z={margin_z}: must be >= 0 (0 is the paper's plain gate)")
        if not 0 <= ema < 1:
            raise UserError(f"penalty.ema={ema}: must be in [0, 1) (0 looks at the current batch alone)")
        self.margin_z, self.ema = float(margin_z), float(ema)
        self.normaliser = check_choice("penalty.normaliser", normaliser, NORMALISERS)
        self.gate = check_choice("penalty.gate", gate, GATES)
        if gate == "previous" and ema:
            raise UserError(
                f"penalty.gate=previous: the average over iterations (penalty.ema={ema}) holds the previous one "
                "already; set penalty.ema=0, or another gate"
            )

    def setup(self, constraints: Sequence[str]) -> None:
        """Register λ, the average of v (bias-corrected by the number of updates behind it)."""
        super().setup(constraints)
        self.register_buffer("violation_ema_K", torch.zeros(len(self.constraints)))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def _averaged(self, violation_K: Tensor) -> Tensor:
        """The running average as it stands once this batch is in it (before any bias correction)."""
        return self.ema * self.violation_ema_K + (1 - self.ema) * violation_K

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        """See the base class; the margin's standard error shrinks with the average's effective window."""
        forgotten = self.ema ** (int(self.num_updates) + 1)
        smoothed_K = self._averaged(violation_K) / (1 - forgotten)
        stderr_K = torch.zeros_like(violation_K) if stderr_K is None else stderr_K
        stderr_K = torch.where(stderr_K.isfinite(), stderr_K, 0.0)  # unknown: no margin; 0 · inf would shut the gate
        # Σ w² of the average's weights w over the batches behind it; 1 for the first batch, whatever the decay.
        shrink = (1 - self.ema) / (1 + self.ema) * (1 + forgotten) / (1 - forgotten)
        margin_K = self.margin_z * stderr_K * math.sqrt(shrink)
        cost_K = self.multiplier_K * (smoothed_K + margin_K > 0)
        return Weights(
            torch.ones_like(self.multiplier_K[0]), cost_K, constant_normaliser(self.normaliser, self.multiplier_K)
        )

    def update(self, violation_K: Tensor) -> None:
        """Take this batch into the running average; λ stays."""
        self.violation_ema_K.copy_(self._averaged(violation_K))
        self.num_updates += 1
