"""The set of all constraints of a run: asked together, a column of the cost logits for each.

Legend: B sequences of this process, N those of all processes, K constraints.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from csrlhf.constraints.base import Constraint, Gather, Statistic, alone, check_statistic
from csrlhf.constraints.where import Selector, select
from csrlhf.errors import UserError
from csrlhf.types import ALONE, Layout, PromptRow


def _measure(
    name: str,
    constraint: Constraint,
    cost_logits_B: Tensor,
    gather: Gather,
    remember: bool,
    layout: Layout,
    rows: Sequence[PromptRow] | None,
) -> Statistic:
    """Ask a constraint; a plug-in's own ``forward`` may know of no layout and of no choice of prompts."""
    parameters = inspect.signature(constraint.forward).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    optional: dict[str, Any] = {"layout": layout} if takes_all or "layout" in parameters else {}
    if (where := getattr(constraint, "where", None)) is not None:
        if rows is None:
            raise UserError(f"constraints.{name}.where: the prompts are not known here, of which it chooses some")
        if not takes_all and "chosen_B" not in parameters:
            raise UserError(
                f"constraints.{name}.where: {type(constraint).__name__}.forward takes no chosen_B, True on responses "
                "to the prompts that it is about; leave where out"
            )
        optional["chosen_B"] = torch.tensor(select(name, where, rows), device=cost_logits_B.device)
    statistic = constraint(cost_logits_B, gather, remember, **optional)
    if layout.part_N is not None and getattr(statistic, "rest", None) is None:
        way = "take another penalty than repo" if layout.inside else "take penalty.gate=batch or previous"
        raise UserError(
            f"constraints.{name}: {type(constraint).__name__}.forward gives no statistic of a part of the responses "
            f"(rest), and the penalty's gate asks for it; {way}"
        )
    return statistic


def _chosen(statistics: Sequence[Statistic]) -> Tensor | None:
    """The responses that each constraint is about [N, K]."""
    masks = [getattr(statistic, "chosen_N", None) for statistic in statistics]
    known = next((mask for mask in masks if mask is not None), None)
    if known is None:
        return None
    return torch.stack([torch.ones_like(known) if mask is None else mask for mask in masks], dim=-1)


@dataclass(frozen=True)
class ConstraintState:
    """The fields of :class:`Statistic` for all constraints of a run: [K], sample costs [B, K].

    Attributes:
        rest: *violations* and standard errors of J, [P, K] each, without each part of the batch.
        counts: prompts of this batch that each constraint is about; None for all of them.
        chosen_NK: True on the answers of all processes to these; None where every constraint is about all.
    """

    value_K: Tensor
    stderr_K: Tensor
    threshold_K: Tensor
    sample_cost_BK: Tensor
    mean_K: Tensor
    mean_stderr_K: Tensor
    rest: tuple[Tensor, Tensor] | None = None
    counts: tuple[int | None, ...] = ()
    chosen_NK: Tensor | None = None

    @property
    def silent_K(self) -> tuple[bool, ...]:
        """True where no prompt of this batch says anything of a constraint."""
        return tuple(count == 0 for count in self.counts)

    @property
    def news_K(self) -> Tensor:
        """The violation, 0 where no prompt of this batch said anything of it: what a strategy's state is moved by."""
        silent = [k for k, is_silent in enumerate(self.silent_K) if is_silent]
        violation_K = self.violation_K.clone()
        violation_K[silent] = 0.0
        return violation_K

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
        self,
        cost_logits_BK: Tensor,
        gather: Gather = alone,
        remember: bool = False,
        layout: Layout = ALONE,
        rows: Sequence[PromptRow] | None = None,
    ) -> ConstraintState:
        """Measure all constraints.

        Args:
            cost_logits_BK: of this process's answers.
            gather: as in :meth:`Constraint.forward`.
            remember: likewise.
            layout: likewise.
            rows: the prompts of this process's answers, for constraints that are about some of them.
        """
        if cost_logits_BK.shape[-1] != len(self.by_name):
            raise UserError(
                f"constraints: {len(self.by_name)} named ({', '.join(self.names)}) but the cost model has "
                f"{cost_logits_BK.shape[-1]} outputs; name one constraint per output, or train another cost model"
            )
        statistics = []
        for k, (name, constraint) in enumerate(zip(self.names, self, strict=True)):
            try:
                statistic = _measure(name, constraint, cost_logits_BK[:, k], gather, remember, layout, rows)
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
            counts=tuple(getattr(s, "count", None) for s in statistics),
            chosen_NK=_chosen(statistics),
        )

    def upper_bounds(self, state: ConstraintState, count: int, confidence: float) -> tuple[float, ...]:
        """One-sided upper bounds on the J's of an evaluation of ``count`` answers, one to each prompt.

        Of a constraint that is about some prompts, these are counted; about none of them nothing is known.
        """
        columns = zip(state.value_K.tolist(), state.mean_K.tolist(), state.mean_stderr_K.tolist(), strict=True)
        counts = [count if one is None else one for one in state.counts] or [count] * len(self.by_name)
        return tuple(
            c.upper_bound(*column, counted, confidence) if counted else math.inf
            for c, column, counted in zip(self, columns, counts, strict=True)
        )

    @property
    def least_counts(self) -> dict[str, int]:
        """By name, the fewest responses of which a constraint's statistic means something."""
        return {name: getattr(one, "least_count", 1) for name, one in zip(self.names, self, strict=True)}

    @property
    def kinds(self) -> dict[str, Selector]:
        """Which prompts the constraints are about that are not about all of them."""
        found = {name: getattr(one, "where", None) for name, one in zip(self.names, self, strict=True)}
        return {name: where for name, where in found.items() if where is not None}
