"""What a constraint remembers of earlier batches: the last N costs, or moving averages of their moments.

A batch is noisy, and a gate or a dual step that follows it chatters. The state is in buffers, is the same on every
process (it is fed with the costs of all of them) and is checkpointed with the policy module.

Legend: N answers of all processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from csrlhf.errors import UserError
from csrlhf.state import PreciseState

# What a statistic is computed from: a few moments of the answers' costs, of one batch or averaged over batches.


@dataclass(frozen=True)
class Moments:
    """Moments of cost terms, all scalars.

    Example: of the costs ``[0, 0, 0, 1]``: count 4, mean 1/4, variance 3/16, third 3/32, fourth 21/256.

    Attributes:
        count: prompts behind them (answers, where each has its own); of an average over batches its effective number.
        mean: of the terms.
        variance: mean squared distance from the mean (divided by the count, not by one less).
        third: mean cubed distance.
        fourth: mean fourth power of the distance.
    """

    count: float
    mean: Tensor
    variance: Tensor
    third: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, term_N: Tensor) -> Moments:
        """The moments of one term per answer, N answers."""
        mean = term_N.mean()
        distance_N = term_N - mean
        return cls(term_N.numel(), mean, (distance_N**2).mean(), (distance_N**3).mean(), (distance_N**4).mean())

    @property
    def deviation(self) -> Tensor:
        """σ: the sample standard deviation (one less than the count in the divisor); 0 of a single answer."""
        return (self.variance * self.count / (self.count - 1)).sqrt() if self.count > 1 else self.variance * 0

    def stderr(self, kappa: float = 0.0) -> Tensor:
        """Standard error of ``mean + κ σ``; 0 of a single answer.

        An answer with term z moves ``mean + κ σ`` by ``(z - mean) + κ ((z - mean)² - variance) / (2 σ)``, its influence
        function, and the error of the statistic is the deviation of these influences over √n.
        """
        if self.count <= 1:
            return self.variance * 0
        spread = self.variance
        if kappa:
            sigma = self.deviation.clamp(min=SMALLEST_DEVIATION)
            spread = spread + kappa * self.third / sigma
            spread = spread + kappa**2 * (self.fourth - self.variance**2) / (4 * sigma**2)
        return (spread.clamp(min=0) / (self.count - 1)).sqrt()

    def blend(self, newer: Moments, share: float) -> Moments:
        """The moments of a mixture: ``share`` of ``newer``, the rest of these.

        Its variance holds the distance between the two means as well. Third and fourth moment are averaged around each
        part's own mean; they only enter the standard error of a statistic with a margin.
        """
        kept = 1 - share
        distance = newer.mean - self.mean
        return Moments(
            1 / (kept**2 / self.count + share**2 / newer.count),
            self.mean + share * distance,
            kept * self.variance + share * newer.variance + kept * share * distance**2,
            kept * self.third + share * newer.third,
            kept * self.fourth + share * newer.fourth,
        )


SMALLEST_DEVIATION = 1e-6
"""Below it the costs count as all equal: their deviation is rounding, and nothing is divided by it."""


Summarise = Callable[[Tensor], Moments]
"""From costs to the moments of the terms that the statistic is a mean of."""


class Window(PreciseState):
    """The costs of the last ``size`` answers, oldest first; of all there have been until it is full.

    A batch is never cut: J of the last 64 answers of a batch of 128 would be of answers that happen to stand last.
    """

    costs: Tensor
    num_kept: Tensor

    def __init__(self, size: int) -> None:
        """Args: size: answers, over all processes (Safe-RLHF keeps 128)."""
        super().__init__()
        self.size = size
        self.register_buffer("costs", torch.zeros(size))
        self.register_buffer("num_kept", torch.zeros((), dtype=torch.long))

    def seen(self, cost_N: Tensor, summarise: Summarise) -> Moments:
        """The moments of a batch's costs and those before them; of the whole batch where the window is smaller."""
        return summarise(self._with(cost_N)[-max(self.size, len(cost_N)) :])

    def known(self, summarise: Summarise, least: int) -> Moments | None:
        """The moments without any new batch; None where there are too few costs."""
        kept = self.costs[: int(self.num_kept)]
        return summarise(kept) if len(kept) >= max(least, 1) else None

    def take(self, cost_N: Tensor, summarise: Summarise) -> Moments:
        """Keep a batch's costs, in the global order of its answers; the moments of :meth:`seen`."""
        moments = self.seen(cost_N, summarise)
        kept = self._with(cost_N)[-self.size :]
        self.costs[: len(kept)] = kept.to(self.costs.dtype)
        self.num_kept.fill_(len(kept))
        return moments

    def _with(self, cost_N: Tensor) -> Tensor:
        return torch.cat([self.costs[: int(self.num_kept)].to(cost_N.dtype), cost_N])


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

    def seen(self, cost_N: Tensor, summarise: Summarise) -> Moments:
        """The averages with a batch in them."""
        newest = summarise(cost_N)
        batches = int(self.num_batches) + 1
        if batches == 1:
            return newest
        count, *others = self.moments.to(cost_N.dtype).unbind()
        return Moments(float(count), *others).blend(newest, (1 - self.ema) / (1 - self.ema**batches))

    def known(self, summarise: Summarise, least: int) -> Moments | None:
        """The averages without any new batch; None before the first."""
        count, *others = self.moments.unbind()
        return Moments(float(count), *others) if bool(self.num_batches > 0) else None

    def take(self, cost_N: Tensor, summarise: Summarise) -> Moments:
        """Take a batch in; the moments of :meth:`seen`."""
        newest = self.seen(cost_N, summarise)
        parts = (newest.mean.new_tensor(newest.count), newest.mean, newest.variance, newest.third, newest.fourth)
        self.moments.copy_(torch.stack(parts))
        self.num_batches += 1
        return newest


Memory = Window | Average


def make_memory(window: int, ema: float) -> Memory | None:
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
