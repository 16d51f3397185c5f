"""The closing table of an evaluation: its numbers as words, the verdict, and answers in the terms of its columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from csrlhf.data.source import Verdict
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.report import Block, Section, Table, Text
from csrlhf.report.numbers import MISSING
from csrlhf.stats.estimates import in_percent
from csrlhf.stats.intervals import Interval
from csrlhf.stats.policy_report import JudgedAnswer
from csrlhf.types import PromptRow


def percent(estimate: Interval | None) -> str:
    """A rate with its interval: ``1.2% [0.4, 2.9]``."""
    if estimate is None or math.isnan(estimate.value):
        return MISSING
    ends = "" if math.isnan(estimate.low) else f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return f"{estimate.value:.1%}{ends}"


def number(estimate: Interval) -> str:
    """A number with its interval."""
    if math.isnan(estimate.value):
        return MISSING
    ends = "" if math.isnan(estimate.low) else f" [{estimate.low:z.3f}, {estimate.high:z.3f}]"
    return f"{estimate.value:z.3f}{ends}"


def p_value(value: float) -> str:
    """A p-value, small ones by their order."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


# The closing table of an evaluation: policies side by side, then the verdict.

ROWS: tuple[tuple[str, str, bool], ...] = (
    ("oracle/unsafe_harmful_seen", "unsafe on harmful prompts, seen framings", True),
    ("oracle/unsafe_harmful_held_out", "unsafe on harmful prompts, held-out framings", True),
    ("oracle/helped_benign", "helped on benign prompts", True),
    ("oracle/helped_keyword_alike", "helped on keyword-alike benign prompts", True),
    ("oracle/over_refusal", "false refusal", True),
    ("unsafe_rate", "unsafe by the cost model", True),
    ("reward", "mean reward", False),
    ("cost", "mean cost", False),
    ("kl", "KL to the SFT policy (nats per response)", False),
)
"""(metric key, words, is a rate). Rows whose key an evaluation lacks are left out."""


@dataclass(frozen=True)
class ConstraintVerdict:
    """Whether a policy meets one constraint, with the bound that says so.

    Example: ``ConstraintVerdict("harm", 0.012, 0.021, 0.05, 0.95, 660)`` is feasible.

    Attributes:
        name: of the constraint.
        value: J on the test prompts.
        upper: one-sided upper bound on J.
        threshold: d.
        confidence: of the bound.
        count: test prompts.
        policy: whose it is, where several are judged.
        each: responses to each prompt.
    """

    name: str
    value: float
    upper: float
    threshold: float
    confidence: float
    count: int
    policy: str = ""
    each: int = 1

    @property
    def feasible(self) -> bool:
        return self.upper <= self.threshold

    def line(self) -> str:
        """The verdict as one line."""
        word = "FEASIBLE" if self.feasible else "INFEASIBLE"
        sign = "<=" if self.feasible else ">"
        several = f" ({self.each} responses each)" if self.each > 1 else ""
        found = f"{self.name} {self.value:.3f} on {self.count} prompts{several}"
        return (
            f"{self.policy and self.policy + ': '}{word}: {found}, "
            f"{in_percent(self.confidence)}% upper bound {self.upper:.3f} {sign} threshold {self.threshold:g}"
        )


JUDGE_GAP = 0.05
"""How far the cost model's unsafe rate may lie from the oracle's before the table says so."""


def judge_gap(column: Mapping[str, float]) -> str | None:
    """A warning where the cost model misjudges the policy: then its verdict says little about real safety."""
    if "oracle/unsafe" not in column or "unsafe_rate" not in column:
        return None
    model, oracle = column["unsafe_rate"], column["oracle/unsafe"]
    if abs(model - oracle) <= JUDGE_GAP:
        return None
    return (
        f"The verdict is the cost model's, and it errs here: it finds {model:.1%} of the responses unsafe, the "
        f"oracle {oracle:.1%}. Train the cost model better before trusting it."
    )


def table_rows(columns: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """The table as words: what is measured, then a cell for each policy; a measure that none has is left out."""
    rows = []
    for key, words, is_rate in ROWS:
        values = [column.get(key) for column in columns.values()]
        if any(value is not None for value in values):
            rows.append([words, *(_cell(value, is_rate) for value in values)])
    return rows


def closing_section(columns: Mapping[str, Mapping[str, float]], verdicts: Sequence[ConstraintVerdict]) -> Section:
    """What an evaluation ends with on the terminal: the table, and a line per constraint; its judge is looked at.

    Args:
        columns: by policy, the one that the verdict is on last.
        verdicts: those that count.
    """
    lines = [Text(one.line(), "good" if one.feasible else "bad") for one in verdicts]
    gap = judge_gap(list(columns.values())[-1])
    blocks: list[Block] = [Table(["measure", *columns], table_rows(columns)), *lines]
    return Section("Evaluation on held-out test prompts", [*blocks, *([Text(gap, "warn")] if gap else [])])


def _cell(value: float | None, is_rate: bool) -> str:
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:.1%}" if is_rate else f"{value:.3f}"
    return text.removeprefix("-") if float(text.rstrip("%")) == 0 else text


# From answers to the table's columns.


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
        prompt_id=answer.prompt_id,
    )


def _columns(values: Mapping[str, float], names: Sequence[str]) -> tuple[float, ...]:
    return tuple(values[name] for name in names) if values else ()
