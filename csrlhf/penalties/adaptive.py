"""``adaptive``: the rectified penalty with a λ that its own gate's duty cycle sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.penalties.base import Multiplier, check_ceiling, positive
from csrlhf.penalties.rectified import Rectified


class Adaptive(Rectified):
    """Cost weight ``λ · 1[v + m > 0]`` like ``rectified``, λ moved once per iteration; state: λ, duty cycle, v̄.

    At stationarity with a constant Z reward and cost gradients balance where the gate is open ``λ* / λ`` of the
    time, so ``λ̂* = duty · λ`` estimates λ*. A duty cycle at ``saturation`` or above says that λ <= λ*: λ grows by
    the factor ``1 + rate``. Below, it moves by the share ``rate`` of its distance toward ``margin · λ̂*``, and so
    settles at ``margin · λ*`` with a duty cycle of ``1 / margin``, within [min_multiplier, max_multiplier].

    The normaliser ``1 + Σ λ`` moves here, but with λ (slowly, over ``1 / rate`` iterations) and not with the gate:
    it scales open and closed steps alike, which leaves the balance above, and makes steps smaller while λ is large.
    A Z that follows the gate would shift the balance, so ``normaliser`` is no key of this strategy.
    """

    duty_K: Tensor

    def __init__(
        self,
        multiplier: Multiplier = 2.0,
        margin: float = 2.0,
        rate: float = 0.02,
        duty_ema: float = 0.95,
        saturation: float = 0.9,
        margin_z: float = 2.0,
        ema: float = 0.0,
        max_multiplier: float = 100.0,
        min_multiplier: float = 0.1,
        gate: str = "leave_one_out",
    ) -> None:
        """Build the strategy.

        Args:
            multiplier: λ at the start.
            margin: > 1, how far above the estimate of λ* the multiplier is kept.
            rate: in (0, 1), how far λ moves in one iteration; slow against the gate's chatter.
            duty_ema: decay in [0, 1) of the duty cycle's average.
            saturation: duty cycle in (1 / margin, 1] from which on the gate counts as always open.
            margin_z: of the gate, in standard errors of J (``rectified``): lowers the cost, leaves the duty cycle.
            ema: of the violation that the gate looks at (``rectified``).
            max_multiplier: λ never exceeds it.
            min_multiplier: λ never falls below it while the constraint asks for nothing.
            gate: which answers the gate looks at (``rectified``).
        """
        super().__init__(multiplier, margin_z, ema, gate=gate)
        if not 1 < margin < float("inf"):
            raise UserError(f"penalty.margin={margin}: must be above 1, or λ settles at λ* or below it; e.g. 2")
        if not 0 < rate < 1:
            raise UserError(f"penalty.rate={rate}: must be in (0, 1)")
        if not 0 <= duty_ema < 1:
            raise UserError(f"penalty.duty_ema={duty_ema}: must be in [0, 1)")
        if not 1 / margin < saturation <= 1:
            raise UserError(
                f"penalty.saturation={saturation}: must be in (1 / penalty.margin, 1] = ({1 / margin:.3g}, 1]: the "
                "duty cycle that the margin aims at is no saturation"
            )
        if not 0 < min_multiplier < max_multiplier < float("inf"):
            raise UserError(
                f"penalty.min_multiplier={min_multiplier}, penalty.max_multiplier={max_multiplier}: "
                "both must be positive numbers, the first below the second"
            )
        self.margin, self.rate, self.duty_ema, self.saturation = margin, rate, duty_ema, saturation
        self.min_multiplier, self.max_multiplier = (
            float(min_multiplier),
            positive("penalty.max_multiplier", max_multiplier),
        )

    def setup(self, constraints: Sequence[str]) -> None:
        """Register λ, the average of v and that of the gate."""
        super().setup(constraints)
        check_ceiling(self.multiplier_K, self.max_multiplier)
        if bool((self.multiplier_K < self.min_multiplier).any()):
            raise UserError(
                f"penalty.multiplier={min(self.multiplier_K.tolist()):g}: starts below "
                f"penalty.min_multiplier={self.min_multiplier:g}, to which it would be raised; change one of them"
            )
        self.register_buffer("duty_K", torch.zeros(len(self.constraints)))

    def update(self, violation_K: Tensor, open_K: Tensor | None = None) -> None:
        """Take the gate into the duty cycle, then move λ; without ``open_K`` the gate is that of this violation."""
        if open_K is None:
            open_K = (self.weights(violation_K).cost_K > 0).to(self.duty_K.dtype)
        super().update(violation_K)
        self.duty_K.lerp_(open_K.to(self.duty_K.dtype), 1 - self.duty_ema)
        duty_K, multiplier_K = self.duty(), self.multiplier_K
        settled_K = torch.lerp(multiplier_K, self.margin * duty_K * multiplier_K, self.rate)
        moved_K = torch.where(duty_K >= self.saturation, (1 + self.rate) * multiplier_K, settled_K)
        self.multiplier_K.copy_(moved_K.clamp(self.min_multiplier, self.max_multiplier))

    def duty(self) -> Tensor:
        """The share of iterations with an open gate [K], over about ``1 / (1 - duty_ema)`` of them; 0 at the start."""
        return self.duty_K / (1 - self.duty_ema ** max(int(self.num_updates), 1))

    def metrics(self) -> dict[str, Tensor]:
        """The base class's, and the estimate ``λ̂* = duty · λ`` of the optimal multiplier."""
        estimate_K = self.duty() * self.multiplier_K
        if len(self.constraints) == 1:
            return super().metrics() | {"penalty/estimate": estimate_K[0]}
        return super().metrics() | {
            f"penalty/{name}/estimate": estimate_K[k] for k, name in enumerate(self.constraints)
        }
