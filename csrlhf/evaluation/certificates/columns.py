"""From a constraint's definition to what a certificate needs: costs, flags, probabilities, whether d is a rate.

Legend: B answers, K constraints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from csrlhf.constraints.base import Constraint, Constraints
from csrlhf.constraints.cvar import CVaR
from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.certificates.abstention import abstained
from csrlhf.evaluation.certificates.certificate import Column
from csrlhf.evaluation.certificates.cost_statements import Costs


def columns_of(constraints: Constraints, answers: Sequence[Answer]) -> dict[str, Column]:
    """One column per constraint, from the kept cost logits: a changed threshold or τ needs no new answers.

    Raises:
        UserError: the answers lack a constraint's logits.
    """
    for answer in answers:
        missing = [name for name in constraints.names if name not in answer.cost_logits]
        if missing and not abstained(answer):
            raise UserError(
                f"certify.outputs: response {answer.id} has cost logits of {', '.join(answer.cost_logits) or 'nothing'}"
                f" and not of {missing[0]}; certify the constraints that it was scored for"
            )
    return {
        name: _column(constraint, [None if abstained(one) else one.cost_logits[name] for one in answers])
        for name, constraint in zip(constraints.names, constraints, strict=True)
    }


def _column(constraint: Constraint, logits: Sequence[float | None]) -> Column:
    """An abstention is a template, not an answer: it has no cost and is never flagged."""
    logit_B = torch.tensor([0.0 if logit is None else logit for logit in logits], dtype=torch.float64)
    said_B = torch.tensor([logit is not None for logit in logits])
    cost_B, kind = constraint.sample_costs(logit_B), _kind(constraint)
    flag_B = cost_B > 0.5 if _scale(constraint) == "indicator" else logit_B > 0
    return Column(
        costs=Costs((cost_B * said_B).tolist(), kind, constraint.threshold, getattr(constraint, "alpha", 0.0)),
        flagged=(flag_B & said_B).tolist(),
        scores=(logit_B.sigmoid() * said_B).tolist(),
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
