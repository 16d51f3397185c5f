"""Answers in the terms of the closing table: what the metrics of a policy and the verdict are computed from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from csrlhf.data.prompt_sets import PROMPT_ID
from csrlhf.data.source import Verdict
from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer
from csrlhf.metrics.policy_report import JudgedAnswer
from csrlhf.types import PromptRow

SFT, TRAINED = "sft", "ppo"
"""Names of the two policies that are compared when nothing else is asked for."""


def in_order(answers: Sequence[Answer], names: Sequence[str] | None = None) -> dict[str, list[Answer]]:
    """Answers by policy.

    Args:
        answers: of all policies; each policy's keep their order.
        names: the policies in their order; without them the SFT policy comes first and the others by name.
    """
    present = {answer.policy for answer in answers}
    listed = [name for name in names or [] if name in present]
    others = sorted(present - set(listed), key=lambda name: (name != SFT, name))
    return {name: [answer for answer in answers if answer.policy == name] for name in [*listed, *others]}


def main_policy(names: Collection[str]) -> str | None:
    """The policy that an evaluation is about: the trained one beside the SFT policy; none of any others."""
    return TRAINED if set(names) == {SFT, TRAINED} else None


def judged_answers(answers: Sequence[Answer], constraints: Sequence[str], what: str) -> list[JudgedAnswer]:
    """The answers as the closing table takes them.

    Args:
        answers: of one policy.
        constraints: names, in the order of the columns.
        what: the answers, for the message.

    Raises:
        UserError: the answers were scored for other constraints.
    """
    for answer in answers:
        missing = [name for name in constraints if answer.cost_logits and name not in answer.cost_logits]
        if missing:
            raise UserError(
                f"constraints.{missing[0]}: {what} holds costs for {', '.join(answer.cost_logits)} only (response "
                f"{answer.id!r}); choose the constraints that these responses were scored for (constraint=...)"
            )
    return [_judged(answer, constraints) for answer in answers]


def _judged(answer: Answer, constraints: Sequence[str]) -> JudgedAnswer:
    known = {} if answer.category is None else {"category": answer.category}
    return JudgedAnswer(
        row=PromptRow(answer.messages, known | answer.meta),
        response=answer.response,
        ended=answer.ended,
        reward=answer.reward,
        cost_logits=_columns(answer.cost_logits, constraints),
        violations=_columns(answer.violations, constraints),
        kl=answer.kl,
        verdict=None if answer.oracle is None else Verdict(**answer.oracle),
    )


def _columns(values: Mapping[str, float], names: Sequence[str]) -> tuple[float, ...]:
    return tuple(values[name] for name in names) if values else ()


def prompt_id_of(row: PromptRow, number: int) -> str:
    """What a prompt is called: as its file says, else by its place in the test split."""
    return str(row.meta.get(PROMPT_ID, f"test-{number}"))
