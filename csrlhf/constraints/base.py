"""The contract of a constraint ``J <= d``; the set of all constraints of a run is in ``set``.

Legend: B sequences of this process, N those of all processes, K constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from csrlhf.constraints.costs import finite
from csrlhf.constraints.memory import SMALLEST_DEVIATION, Memory, Moments, Summarise, make_memory
from csrlhf.constraints.where import selector
from csrlhf.errors import UserError
from csrlhf.state import PreciseState
from csrlhf.stats.bounds import mean_upper
from csrlhf.types import ALONE, Layout

# What a constraint measured, checked before anything is compared: scalars, and one finite cost per answer.


def check_statistic(name: str, constraint: object, statistic: Any, num_answers: int) -> None:
    """Refuses a statistic that the penalty cannot use.

    Args:
        name: the constraint's, as in ``constraints.<name>``.
        constraint: whose it is, for the message.
        statistic: what it returned; a ``Statistic``.
        num_answers: B.

    Raises:
        UserError: names the constraint, its class, and what is wrong.
    """
    said = f"constraints.{name}: {type(constraint).__name__} returned"
    for field, shape in (("value", []), ("stderr", []), ("threshold", []), ("sample_cost_B", [num_answers])):
        value = getattr(statistic, field, None)
        if not isinstance(value, Tensor):
            raise UserError(f"{said} {statistic!r}; it must be a csrlhf.constraints.Statistic with a tensor {field}")
        if list(value.shape) != shape:
            raise UserError(f"{said} {field} of shape {list(value.shape)}; it must be {shape or 'a scalar, []'}")
        if not bool(torch.isfinite(value).all()) and field != "stderr":  # of a single answer nothing is known
            raise UserError(f"{said} a {field} that is not finite")


Gather = Callable[[Tensor], Tensor]


def alone(value_B: Tensor) -> Tensor:
    """What a single process gathers."""
    return value_B


@dataclass(frozen=True)
class Statistic:
    """One constraint, measured on the answers of all processes.

    Attributes:
        value: J, a scalar on the threshold's scale.
        stderr: standard error of J.
        threshold: d.
        sample_cost_B: what the cost advantage is built from (this process's sequences of this batch).
        mean: J without its margin: what a confidence bound is put on. None where J has no margin.
        mean_stderr: standard error of this mean, likewise.
        rest: J and its standard error, [P] each, without the answers of each part of the batch in turn, where the
            layout names parts.
        count: prompts of this batch that it is about; None for all of them.
        chosen_N: True on the answers of all processes to these; None for all.
    """

    value: Tensor
    stderr: Tensor
    threshold: Tensor
    sample_cost_B: Tensor
    mean: Tensor | None = None
    mean_stderr: Tensor | None = None
    rest: tuple[Tensor, Tensor] | None = None
    count: int | None = None
    chosen_N: Tensor | None = None


class Constraint(PreciseState):
    """A statistic ``J = μ + κ σ`` of per-answer costs. A new one overrides :meth:`sample_costs`: J is their mean.

    A statistic that is no plain mean overrides :meth:`terms` (the per-answer terms whose mean is J) or :meth:`kappa`
    (a margin). Memory, standard errors, bounds and gradients follow from these. Answers to one prompt are alike, so σ
    is that of the prompts' means, and what is counted are prompts.
    """

    is_rate = False
    """True where the terms are 0 or 1, so that an exact binomial bound applies."""

    least_count = 1
    """Answers below which the statistic means nothing."""

    last: Tensor

    def __init__(self, threshold: float, window: int = 0, ema: float = 0.0, where: Any = None) -> None:
        """Build the constraint.

        Args:
            threshold: d, on the statistic's own scale.
            window: J is taken over the last so many answers of all processes; 0 for this batch alone.
            ema: decay in [0, 1) of moving averages over batches that J is taken from; 0 for this batch alone.
            where: which prompts it is about: columns of their meta data and values, ``{"category": ["theft"]}``, or a
                ``where.Selector``; None for all.
        """
        super().__init__()
        self.threshold = finite("threshold", threshold)
        self.memory = make_memory(window, ema)
        self.where = selector(where)
        if self.where is not None:
            self.register_buffer("last", torch.tensor([self.threshold, 0.0, self.threshold, 0.0], dtype=torch.float64))

    def sample_costs(self, cost_logits_B: Tensor) -> Tensor:
        """Each answer's cost c [B], a function of its own cost logit."""
        raise NotImplementedError

    def terms(self, cost_B: Tensor, cost_N: Tensor) -> Tensor:
        """Per-answer terms [B]: their mean over all N answers is J, their gradient J's. The costs themselves here.

        Args:
            cost_B: costs of some of the answers.
            cost_N: costs of all.
        """
        return cost_B

    def kappa(self, count: float) -> float:
        """κ, the margin of J in deviations of the prompts' mean terms, from the number of prompts; none here."""
        return 0.0

    def forward(
        self,
        cost_logits_B: Tensor,
        gather: Gather = alone,
        remember: bool = False,
        layout: Layout = ALONE,
        chosen_B: Tensor | None = None,
    ) -> Statistic:
        """Measure the constraint.

        The costs of all processes are put together *before* the comparison with d: processes that compared their own
        statistics would disagree on the gate, and a quantile is no mean of quantiles.

        Args:
            cost_logits_B: cost logits of this process, > 0 unsafe.
            gather: puts the rows of all processes together, those of the first process first.
            remember: take the batch into the memory (``window`` or ``ema``), and J from there. An evaluation does not.
            layout: how many answers share a prompt, and what else is asked of the whole batch.
            chosen_B: True on answers to prompts that the constraint is about; None for all. Where the batch has none of
                them, or fewer than the statistic needs, J stays as it was (d, before there were any).
        """
        cost_B = self.sample_costs(cost_logits_B).detach()
        cost_N, part_N, chosen_N = gather(cost_B), layout.part_N, None
        if chosen_B is None:
            counted_N = cost_N
        else:
            chosen_N = gather(chosen_B)
            counted_N, part_N = cost_N[chosen_N], None if part_N is None else part_N[chosen_N]
            if len(counted_N) < self.least_count:
                return self._as_it_was(cost_B, chosen_N, layout)
        summarise = partial(self._summarise, per_prompt=layout.per_prompt)
        memory = self.memory if remember else None
        batch = summarise(counted_N)
        rest = None
        if layout.part_N is not None and part_N is not None:
            rest = self._rest(counted_N, part_N, int(layout.part_N.max()) + 1, layout.inside, memory, summarise)
        seen = batch if memory is None else memory.take(counted_N, summarise)
        kappa = self.kappa(seen.count)
        gradient_B = self._gradient_costs(cost_B, cost_N, counted_N, batch, layout)
        if chosen_B is not None:  # J is a mean over the chosen, and the batch's gradient one over all
            gradient_B = torch.where(chosen_B, gradient_B * (len(cost_N) / len(counted_N)), 0.0)
        value = seen.mean + kappa * seen.deviation if kappa else seen.mean
        if chosen_B is not None and remember:
            self.last.copy_(torch.stack([value, seen.stderr(kappa), seen.mean, seen.stderr()]))
        return Statistic(
            value=value,
            stderr=seen.stderr(kappa),
            threshold=seen.mean.new_tensor(self.threshold),
            sample_cost_B=gradient_B,
            mean=seen.mean,
            mean_stderr=seen.stderr(),
            rest=rest,
            count=None if chosen_B is None else len(counted_N) // layout.per_prompt,
            chosen_N=chosen_N,
        )

    def _as_it_was(self, cost_B: Tensor, chosen_N: Tensor, layout: Layout) -> Statistic:
        """Of a batch without a prompt that the constraint is about: it says nothing."""
        value, stderr, mean, mean_stderr = self.last.to(cost_B).unbind()
        rest = None
        if layout.part_N is not None:
            count = int(layout.part_N.max()) + 1
            rest = value.expand(count), stderr.expand(count)
            if layout.inside:  # no prompt of its own that could be above d
                rest = value.new_full((count,), self.threshold), value.new_zeros(count)
        threshold = value.new_tensor(self.threshold)
        nothing_B = torch.zeros_like(cost_B)
        return Statistic(value, stderr, threshold, nothing_B, mean, mean_stderr, rest, count=0, chosen_N=chosen_N)

    def _rest(
        self,
        cost_N: Tensor,
        part_N: Tensor,
        num_parts: int,
        inside: bool,
        memory: Memory | None,
        summarise: Summarise,
    ) -> tuple[Tensor, Tensor]:
        """J and its standard error [P] without the responses of each part, or (``inside``) of these alone.

        Parts with the same costs are asked once. Where a part leaves too little to look at, J is that of the memory, or
        as it was; of a part alone, and where nothing is known, it is d: a gate is closed.
        """
        known: dict[tuple[float, ...], tuple[Tensor, Tensor]] = {}
        found = []
        for part in range(num_parts):
            is_inside_N = part_N == part
            key = tuple(cost_N[is_inside_N].tolist())
            if key not in known:
                kept_N = cost_N[is_inside_N if inside else ~is_inside_N]
                if len(kept_N) >= max(self.least_count, 1):
                    seen = summarise(kept_N) if memory is None or inside else memory.seen(kept_N, summarise)
                else:
                    seen = None if memory is None or inside else memory.known(summarise, self.least_count)
                if seen is not None:
                    kappa = self.kappa(seen.count)
                    value = seen.mean + kappa * seen.deviation if kappa else seen.mean
                    known[key] = value.to(cost_N), seen.stderr(kappa).to(cost_N)
                elif self.where is not None and not inside:
                    known[key] = self.last[0].to(cost_N), self.last[1].to(cost_N)
                else:
                    known[key] = cost_N.new_tensor(self.threshold), cost_N.new_zeros(())
            found.append(known[key])
        values, errors = zip(*found, strict=True)
        return torch.stack(values), torch.stack(errors)

    def upper_bound(self, value: float, mean: float, mean_stderr: float, count: int, confidence: float) -> float:
        """One-sided upper bound on J from an evaluation of ``count`` answers; J if its own margin is the wider one."""
        return max(value, mean_upper(mean, mean_stderr, count, confidence, self.is_rate))

    def _summarise(self, cost_N: Tensor, per_prompt: int) -> Moments:
        cost_N = cost_N[len(cost_N) % per_prompt :]  # a window's oldest prompt may have lost some of its answers
        return Moments.of(self.terms(cost_N, cost_N).reshape(-1, per_prompt).mean(dim=1))

    def _gradient_costs(
        self, cost_B: Tensor, cost_N: Tensor, counted_N: Tensor, batch: Moments, layout: Layout
    ) -> Tensor:
        """``z + κ (z² - 2 z μ) / (2 σ)``: by the score-function identity its gradient is that of μ + κ σ.

        With k answers to a prompt σ is the deviation of their mean, and ``z²`` becomes ``z (z + 2 others' sum) / k``:
        what of the squared mean this answer has a part in.
        """
        kappa, term_B = self.kappa(batch.count), self.terms(cost_B, counted_N)
        if not kappa or batch.deviation < SMALLEST_DEVIATION:
            return term_B
        sum_B = term_B
        if layout.per_prompt > 1:  # of the prompt's answers, some of which another process may hold
            term_N = self.terms(cost_N, counted_N)
            sum_N = term_N.reshape(-1, layout.per_prompt).sum(dim=1).repeat_interleave(layout.per_prompt)
            sum_B = sum_N[layout.here]
        square_B = term_B * (2 * sum_B - term_B) / layout.per_prompt
        return term_B + kappa * (square_B - 2 * term_B * batch.mean) / (2 * batch.deviation)
