"""The contract of a constraint ``J <= d``, and the set of all constraints of a run.

Legend: B sequences of this process, N those of all processes, K constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from csrlhf.constraints.costs import finite
from csrlhf.constraints.memory import SMALLEST_DEVIATION, Moments, make_memory
from csrlhf.errors import UserError
from csrlhf.state import PreciseState
from csrlhf.stats.bounds import mean_upper

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
    """

    value: Tensor
    stderr: Tensor
    threshold: Tensor
    sample_cost_B: Tensor
    mean: Tensor | None = None
    mean_stderr: Tensor | None = None


class Constraint(PreciseState):
    """A statistic ``J = μ + κ σ`` of per-answer costs. A new one overrides :meth:`sample_costs`: J is their mean.

    A statistic that is no plain mean overrides :meth:`terms` (the per-answer terms whose mean is J) or :meth:`kappa`
    (a margin). Memory, standard errors, bounds and gradients follow from these.
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
        """κ, the margin of J in deviations of the terms, from the number of answers; none here."""
        return 0.0

    def forward(self, cost_logits_B: Tensor, gather: Gather = alone, remember: bool = False) -> Statistic:
        """Measure the constraint.

        The costs of all processes are put together *before* the comparison with d: processes that compared their own
        statistics would disagree on the gate, and a quantile is no mean of quantiles.

        Args:
            cost_logits_B: cost logits of this process, > 0 unsafe.
            gather: puts the rows of all processes together, those of the first process first.
            remember: take the batch into the memory (``window`` or ``ema``), and J from there. An evaluation does not.
        """
        cost_B = self.sample_costs(cost_logits_B).detach()
        cost_N = gather(cost_B)
        batch = seen = self._summarise(cost_N)
        if remember and self.memory is not None:
            seen = self.memory.take(cost_N, self._summarise)
        kappa = self.kappa(seen.count)
        return Statistic(
            value=seen.mean + kappa * seen.deviation if kappa else seen.mean,
            stderr=seen.stderr(kappa),
            threshold=seen.mean.new_tensor(self.threshold),
            sample_cost_B=self._gradient_costs(self.terms(cost_B, cost_N), batch),
            mean=seen.mean,
            mean_stderr=seen.stderr(),
        )

    def upper_bound(self, value: float, mean: float, mean_stderr: float, count: int, confidence: float) -> float:
        """One-sided upper bound on J from an evaluation of ``count`` answers; J if its own margin is the wider one."""
        return max(value, mean_upper(mean, mean_stderr, count, confidence, self.is_rate))

    def _summarise(self, cost_N: Tensor) -> Moments:
        return Moments.of(self.terms(cost_N, cost_N))

    def _gradient_costs(self, term_B: Tensor, batch: Moments) -> Tensor:
        """``z + κ (z² - 2 z μ) / (2 σ)``: by the score-function identity its gradient is that of μ + κ σ."""
        kappa = self.kappa(batch.count)
        if not kappa:
            return term_B
        margin_B = kappa * (term_B**2 - 2 * term_B * batch.mean) / (2 * batch.deviation.clamp(min=SMALLEST_DEVIATION))
        return torch.where(batch.deviation < SMALLEST_DEVIATION, term_B, term_B + margin_B)


@dataclass(frozen=True)
class ConstraintState:
    """The fields of :class:`Statistic` for all constraints of a run: [K], sample costs [B, K]."""

    value_K: Tensor
    stderr_K: Tensor
    threshold_K: Tensor
    sample_cost_BK: Tensor
    mean_K: Tensor
    mean_stderr_K: Tensor

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

    def forward(self, cost_logits_BK: Tensor, gather: Gather = alone, remember: bool = False) -> ConstraintState:
        """Measure all constraints; the arguments are those of :meth:`Constraint.forward`."""
        if cost_logits_BK.shape[-1] != len(self.by_name):
            raise UserError(
                f"constraints: {len(self.by_name)} named ({', '.join(self.names)}) but the cost model has "
                f"{cost_logits_BK.shape[-1]} outputs; name one constraint per output, or train another cost model"
            )
        statistics = []
        for k, (name, constraint) in enumerate(self.by_name.items()):
            try:
                statistic = constraint(cost_logits_BK[:, k], gather, remember)
            except UserError as error:  # a constraint does not know its own name
                raise UserError(str(error).replace("<name>", name)) from error
            check_statistic(name, constraint, statistic, len(cost_logits_BK))
            statistics.append(statistic)
        return ConstraintState(
            value_K=torch.stack([s.value for s in statistics]),
            stderr_K=torch.stack([s.stderr for s in statistics]),
            threshold_K=torch.stack([s.threshold for s in statistics]),
            sample_cost_BK=torch.stack([s.sample_cost_B for s in statistics], dim=-1),
            mean_K=torch.stack([s.value if s.mean is None else s.mean for s in statistics]),
            mean_stderr_K=torch.stack([s.stderr if s.mean_stderr is None else s.mean_stderr for s in statistics]),
        )

    def upper_bounds(self, state: ConstraintState, count: int, confidence: float) -> tuple[float, ...]:
        """One-sided upper bounds on the J's of an evaluation of ``count`` answers."""
        columns = zip(state.value_K.tolist(), state.mean_K.tolist(), state.mean_stderr_K.tolist(), strict=True)
        return tuple(c.upper_bound(*column, count, confidence) for c, column in zip(self, columns, strict=True))
