"""Does a policy keep its constraints? The constraints' own statistics on kept answers, with their upper bounds.

Legend: B answers, K constraints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from csrlhf.constraints.base import Constraints
from csrlhf.evaluation.answers import Answer
from csrlhf.metrics.policy_table import ConstraintVerdict


def constraint_verdicts(
    answers: Sequence[Answer], constraints: Constraints, confidence: float, policy: str = ""
) -> list[ConstraintVerdict]:
    """One per constraint, on the test prompts that are drawn like the training prompts; none without scores.

    Held-out framings are another distribution than the threshold's: the table shows them, the
    verdict leaves them out. Of several answers to a prompt it takes the first: the bound is for independent ones.

    Args:
        answers: of one policy.
        constraints: the run's.
        confidence: of each one-sided bound.
        policy: the name that the verdict is shown under; empty where there is no doubt whose it is.
    """
    scored = [answer for answer in answers if answer.cost_logits and answer.sample == 0]
    chosen = [answer for answer in scored if answer.meta.get("framing_seen", True)] or scored
    if not chosen:
        return []
    names = constraints.names
    logits_BK = torch.tensor([[a.cost_logits[name] for name in names] for a in chosen], dtype=torch.float64)
    state = constraints(logits_BK)
    values, count = state.value_K.tolist(), len(chosen)
    uppers = constraints.upper_bounds(state, count, confidence)
    return [
        ConstraintVerdict(name, values[k], uppers[k], constraint.threshold, confidence, count, policy)
        for k, (name, constraint) in enumerate(zip(names, constraints, strict=True))
    ]
