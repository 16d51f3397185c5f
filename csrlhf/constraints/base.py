"""The contract of a constraint ``J <= d``, and the set of all constraints of a run.

Legend: B sequences of this process, N those of all processes, K constraints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from csrlhf.constraints.costs import finite
from csrlhf.constraints.memory import SMALLEST_DEVIATION, Memory, Moments, Summarise, make_memory
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
    """

    value: Tensor
    stderr: Tensor
    threshold: Tensor
    sample_cost_B: Tensor
    mean: Tensor | None = None
    mean_stderr: Tensor | None = None
    rest: tuple[Tensor, Tensor] | None = None


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

    def __init__(self, threshold: float, window: int = 0, ema: float = 0.0) -> None:
        """Build the constraint.

        Args:
            threshold: d, on the statistic's own scale.
            window: J is taken over the last so many answers of all processes; 0 for this batch alone.
            ema: decay in [0, 1) of moving averages over batches that J is taken from; 0 for this batch alone.
        """
        super().__init__()
        self.threshold = finite("threshold", threshold)
        self.memory = make_memory(window, ema)

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
        self, cost_logits_B: Tensor, gather: Gather = alone, remember: bool = False, layout: Layout = ALONE
    ) -> Statistic:
        """Measure the constraint.

        The costs of all processes are put together *before* the comparison with d: processes that compared their own
        statistics would disagree on the gate, and a quantile is no mean of quantiles.

        Args:
            cost_logits_B: cost logits of this process, > 0 unsafe.
            gather: puts the rows of all processes together, those of the first process first.
            remember: take the batch into the memory (``window`` or ``ema``), and J from there. An evaluation does not.
            layout: how many answers share a prompt, and what else is asked of the whole batch.
        """
        cost_B = self.sample_costs(cost_logits_B).detach()
        cost_N = gather(cost_B)
        summarise = partial(self._summarise, per_prompt=layout.per_prompt)
        memory = self.memory if remember else None
        batch = summarise(cost_N)
        rest = None if layout.part_N is None else self._rest(cost_N, layout, memory, summarise)
        seen = batch if memory is None else memory.take(cost_N, summarise)
        kappa = self.kappa(seen.count)
        return Statistic(
            value=seen.mean + kappa * seen.deviation if kappa else seen.mean,
            stderr=seen.stderr(kappa),
            threshold=seen.mean.new_tensor(self.threshold),
            sample_cost_B=self._gradient_costs(cost_B, cost_N, batch, layout),
            mean=seen.mean,
            mean_stderr=seen.stderr(),
            rest=rest,
        )

    def _rest(
        self, cost_N: Tensor, layout: Layout, memory: Memory | None, summarise: Summarise
    ) -> tuple[Tensor, Tensor]:
        """J and its standard error [P] without the responses of each part, or of these alone and this batch's.

        Parts with the same costs are asked once.
        """
        assert layout.part_N is not None
        known: dict[tuple[float, ...], tuple[Tensor, Tensor]] = {}
        found = []
        for part in range(int(layout.part_N.max()) + 1):
            is_inside_N = layout.part_N == part
            key = tuple(cost_N[is_inside_N].tolist())
            if key not in known:
                kept_N = cost_N[is_inside_N if layout.inside else ~is_inside_N]
                seen = summarise(kept_N) if memory is None or layout.inside else memory.seen(kept_N, summarise)
                kappa = self.kappa(seen.count)
                known[key] = (seen.mean + kappa * seen.deviation if kappa else seen.mean, seen.stderr(kappa))
            found.append(known[key])
        values, errors = zip(*found, strict=True)
        return torch.stack(values), torch.stack(errors)

    def upper_bound(self, value: float, mean: float, mean_stderr: float, count: int, confidence: float) -> float:
        """One-sided upper bound on J from an evaluation of ``count`` answers; J if its own margin is the wider one."""
        return max(value, mean_upper(mean, mean_stderr, count, confidence, self.is_rate))

    def _summarise(self, cost_N: Tensor, per_prompt: int) -> Moments:
        cost_N = cost_N[len(cost_N) % per_prompt :]  # a window's oldest prompt may have lost some of its answers
        return Moments.of(self.terms(cost_N, cost_N).reshape(-1, per_prompt).mean(dim=1))

    def _gradient_costs(self, cost_B: Tensor, cost_N: Tensor, batch: Moments, layout: Layout) -> Tensor:
        """``z + κ (z² - 2 z μ) / (2 σ)``: by the score-function identity its gradient is that of μ + κ σ.

        With k answers to a prompt σ is the deviation of their mean, and ``z²`` becomes ``z (z + 2 others' sum) / k``:
        what of the squared mean this answer has a part in.
        """
        kappa, term_B = self.kappa(batch.count), self.terms(cost_B, cost_N)
        if not kappa or batch.deviation < SMALLEST_DEVIATION:
            return term_B
        sum_B = term_B
        if layout.per_prompt > 1:  # of the prompt's answers, some of which another process may hold
            term_N = self.terms(cost_N, cost_N)
            sum_N = term_N.reshape(-1, layout.per_prompt).sum(dim=1).repeat_interleave(layout.per_prompt)
            sum_B = sum_N[layout.here]
        square_B = term_B * (2 * sum_B - term_B) / layout.per_prompt
        return term_B + kappa * (square_B - 2 * term_B * batch.mean) / (2 * batch.deviation)


def _measure(
    name: str, constraint: Constraint, cost_logits_B: Tensor, gather: Gather, remember: bool, layout: Layout
) -> Statistic:
    """Ask a constraint; a plug-in's own ``forward`` may know of no layout."""
    if "layout" in inspect.signature(constraint.forward).parameters:
        statistic = constraint(cost_logits_B, gather, remember, layout)
    else:
        statistic = constraint(cost_logits_B, gather, remember)
    if layout.part_N is not None and getattr(statistic, "rest", None) is None:
        raise UserError(
            f"constraints.{name}: {type(constraint).__name__}.forward gives no statistic without some of the responses "
            "(rest), and penalty.gate asks for it; take penalty.gate=batch or previous"
        )
    return statistic


@dataclass(frozen=True)
class ConstraintState:
    """The fields of :class:`Statistic` for all constraints of a run: [K], sample costs [B, K].

    Attributes:
        rest: *violations* and standard errors of J, [P, K] each, without each part of the batch.
    """

    value_K: Tensor
    stderr_K: Tensor
    threshold_K: Tensor
    sample_cost_BK: Tensor
    mean_K: Tensor
    mean_stderr_K: Tensor
    rest: tuple[Tensor, Tensor] | None = None

    @property
    def violation_K(self) -> Tensor:
        """The violation J - d, positive where the constraint is not met."""
        return self.value_K - self.threshold_K


class Constraints(nn.Module):
    """The run's constraints by name; column ``k`` of the cost logits belongs to the k-th name."""

    def __init__(self, constraints: Mapping[str, Constraint]) -> None:
        super().__init__()
        if not constraints:
            raise UserError("constraints: the set is empty; name at least one, e.g. constraint=chance")
        self.by_name = nn.ModuleDict(dict(constraints))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.by_name)

    def __iter__(self) -> Iterator[Constraint]:
        return iter(self.by_name.values())  # type: ignore[arg-type]  # filled with constraints alone

    def costs(self, cost_logits_BK: Tensor) -> Tensor:
        """Each answer's own cost under each constraint [B, K]."""
        return torch.stack([c.sample_costs(cost_logits_BK[:, k]) for k, c in enumerate(self)], dim=-1)

    def forward(
        self, cost_logits_BK: Tensor, gather: Gather = alone, remember: bool = False, layout: Layout = ALONE
    ) -> ConstraintState:
        """Measure all constraints; the arguments are those of :meth:`Constraint.forward`."""
        if cost_logits_BK.shape[-1] != len(self.by_name):
            raise UserError(
                f"constraints: {len(self.by_name)} named ({', '.join(self.names)}) but the cost model has "
                f"{cost_logits_BK.shape[-1]} outputs; name one constraint per output, or train another cost model"
            )
        statistics = []
        for k, (name, constraint) in enumerate(zip(self.names, self, strict=True)):
            try:
                statistic = _measure(name, constraint, cost_logits_BK[:, k], gather, remember, layout)
            except UserError as error:  # a constraint does not know its own name
                raise UserError(str(error).replace("<name>", name)) from error
            check_statistic(name, constraint, statistic, len(cost_logits_BK))
            statistics.append(statistic)
        threshold_K = torch.stack([s.threshold for s in statistics])
        rest = None
        if layout.part_N is not None:
            values, errors = zip(*(s.rest for s in statistics), strict=True)
            rest = torch.stack(values, dim=-1) - threshold_K, torch.stack(errors, dim=-1)
        return ConstraintState(
            value_K=torch.stack([s.value for s in statistics]),
            stderr_K=torch.stack([s.stderr for s in statistics]),
            threshold_K=threshold_K,
            sample_cost_BK=torch.stack([s.sample_cost_B for s in statistics], dim=-1),
            mean_K=torch.stack([s.value if s.mean is None else s.mean for s in statistics]),
            mean_stderr_K=torch.stack([s.stderr if s.mean_stderr is None else s.mean_stderr for s in statistics]),
            rest=rest,
        )

    def upper_bounds(self, state: ConstraintState, count: int, confidence: float) -> tuple[float, ...]:
        """One-sided upper bounds on the J's of an evaluation of ``count`` answers."""
        columns = zip(state.value_K.tolist(), state.mean_K.tolist(), state.mean_stderr_K.tolist(), strict=True)
        return tuple(c.upper_bound(*column, count, confidence) for c, column in zip(self, columns, strict=True))
