"""Keys of ``evaluate`` that do not fit together, found before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from csrlhf.errors import UserError
from csrlhf.evaluation.judging import PEOPLE, judge_of


def check_options(
    policies: Mapping[str, str] | None,
    samples_per_prompt: int,
    attempts: int | None,
    judge: str | None,
    labels: str | None,
    outputs: str | None,
) -> None:
    """Raises where the keys contradict each other; each argument is the key of its name."""
    if policies is not None and outputs is not None:
        raise UserError(
            "evaluate.outputs: names existing responses, evaluate.policies would generate new ones; set one of them"
        )
    if policies is not None and not isinstance(policies, Mapping):
        raise UserError(f"evaluate.policies={policies}: needs a name for each, evaluate.policies={{name: FOLDER}}")
    if policies is not None and not policies:
        raise UserError("evaluate.policies={}: name at least one folder, evaluate.policies={name: FOLDER}")
    wrong = [name for name in policies or {} if not str(name).replace("-", "_").replace("_", "a").isalnum()]
    if wrong:
        raise UserError(f"evaluate.policies: {wrong[0]!r} is part of metric keys: use letters, digits, - and _")
    if samples_per_prompt < 1:
        raise UserError(f"evaluate.samples_per_prompt={samples_per_prompt}: must be >= 1")
    if outputs is None and attempts is not None and attempts > samples_per_prompt:
        raise UserError(
            f"evaluate.attempts={attempts}: there are evaluate.samples_per_prompt={samples_per_prompt} responses to a "
            "prompt; lower the one or raise the other"
        )
    if judge_of(judge) == PEOPLE and labels not in (None, judge):
        raise UserError(f"evaluate.judge={judge}: is a labels file, and evaluate.labels={labels} another; set one")
