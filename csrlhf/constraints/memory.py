"""What a constraint remembers of earlier batches: the last N costs, or moving averages of their moments.

A batch is noisy, and a gate or a dual step that follows it chatters. The state is in buffers, is the same on every
process (it is fed with the costs of all of them) and is checkpointed with the policy module.

Legend: N answers of all processes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from csrlhf.constraints.moments import Moments
from csrlhf.errors import UserError
from csrlhf.state import PreciseState

Summarise = Callable[[Tensor], Moments]
"""From costs to the moments of the terms that the statistic is a mean of."""


class Window(PreciseState):
    """The costs of the last ``size`` answers, oldest first; of all there have been until it is full."""

    costs: Tensor
    num_kept: Tensor

    def __init__(self, size: int) -> None:
        """Args: size: answers, over all processes (Safe-RLHF keeps 128)."""
        super().__init__()
        self.size = size
        self.register_buffer("costs", torch.zeros(size))
        self.register_buffer("num_kept", torch.zeros((), dtype=torch.long))

    def take(self, cost_N: Tensor, summarise: Summarise) -> Moments:
        """Keep a batch's costs, in the global order of its answers; the moments of all that are kept."""
        before = self.costs[: int(self.num_kept)].to(cost_N.dtype)
        kept = torch.cat([before, cost_N])[-self.size :]
        self.costs[: len(kept)] = kept.to(self.costs.dtype)
        self.num_kept.fill_(len(kept))
        return summarise(kept)


class Average(PreciseState):
    """Exponential moving averages of the batches' moments, weighted so that the first batch counts fully.

    The weights of the batches so far add up to 1: ``(1 - ema) ema^age / (1 - ema^batches)``. Their effective number of
    answers is ``1 / Σ (weight² / answers)``; with equal batches of B it tends to ``B (1 + ema) / (1 - ema)``.
    """

    moments: Tensor
    num_batches: Tensor

    def __init__(self, ema: float) -> None:
        """Args: ema: decay of the average, in (0, 1)."""
        super().__init__()
        self.ema = ema
        self.register_buffer("moments", torch.zeros(5))  # count, mean, variance, third, fourth
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))

    def take(self, cost_N: Tensor, summarise: Summarise) -> Moments:
        """Take a batch in; the averages with it."""
        newest = summarise(cost_N)
        batches = int(self.num_batches) + 1
        if batches > 1:
            count, *others = self.moments.to(cost_N.dtype).unbind()
            newest = Moments(float(count), *others).blend(newest, (1 - self.ema) / (1 - self.ema**batches))
        parts = (newest.mean.new_tensor(newest.count), newest.mean, newest.variance, newest.third, newest.fourth)
        self.moments.copy_(torch.stack(parts))
        self.num_batches.fill_(batches)
        return newest


def make_memory(window: int, ema: float) -> Window | Average | None:
    """What the two keys ask for; None where both are 0.

    Raises:
        UserError: one of them is out of range, or both are on.
    """
    if window < 0 or window != int(window):
        raise UserError(
            f"constraints.<name>.window={window}: the number of responses whose costs are kept, a whole number >= 0 "
            "(0 looks at the current batch alone)"
        )
    if not 0 <= ema < 1:
        raise UserError(f"constraints.<name>.ema={ema}: must be in [0, 1) (0 looks at the current batch alone)")
    if window and ema:
        raise UserError(
            f"constraints.<name>.window={window}: with constraints.<name>.ema={ema} there are two memories; "
            "set one of them to 0"
        )
    return Window(int(window)) if window else Average(float(ema)) if ema else None
