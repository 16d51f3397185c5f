"""From a constraint's definition to what a certificate needs: costs, flags, probabilities, whether d is a rate.

Legend: B answers, K constraints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csrlhf.constraints.base import Constraint, Constraints
from csrlhf.constraints.cvar import CVaR
from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.certificate import Column
from csrlhf.evaluation.statements import Costs


def columns_of(constraints: Constraints, answers: Sequence[Answer]) -> dict[str, Column]:
    """One column per constraint, from the kept cost logits: a changed threshold or τ needs no new answers.

    Raises:
        UserError: the answers lack a constraint's logits.
    """
    for answer in answers:
        missing = [name for name in constraints.names if name not in answer.cost_logits]
        if missing:
            raise UserError(
                f"certify.outputs: answer {answer.id} has cost logits of "
                f"{', '.join(answer.cost_logits) or 'nothing'} and not of {missing[0]}; certify the constraints "
                "that it was scored for"
            )
    logits = [[answer.cost_logits[name] for name in constraints.names] for answer in answers]
    logits_BK = torch.tensor(logits, dtype=torch.float64)
    return {
        name: _column(constraint, logits_BK[:, k])
        for k, (name, constraint) in enumerate(zip(constraints.names, constraints, strict=True))
    }


def _column(constraint: Constraint, logit_B: Tensor) -> Column:
    cost_B, kind = constraint.sample_costs(logit_B), _kind(constraint)
    flag_B = cost_B > 0.5 if _scale(constraint) == "indicator" else logit_B > 0
    return Column(
        costs=Costs(cost_B.tolist(), kind, constraint.threshold, getattr(constraint, "alpha", 0.0)),
        flagged=flag_B.tolist(),
        scores=logit_B.sigmoid().tolist(),
        rate_threshold=constraint.threshold if kind in ("rate", "mean") else None,
    )


def _scale(constraint: Constraint) -> str:
    return "indicator" if constraint.is_rate else getattr(constraint, "scale", "logit")


def _kind(constraint: Constraint) -> str:
    """A pessimistic constraint's margin serves training: what is certified is its mean."""
    if _scale(constraint) == "logit":
        return "unbounded"
    if isinstance(constraint, CVaR):
        return "tail"
    return "rate" if constraint.is_rate else "mean"
