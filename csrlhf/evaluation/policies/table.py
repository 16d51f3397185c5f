"""Answers in the terms of the closing table: what the metrics of a policy and the verdict are computed from."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from csrlhf.data.prompt_sets import PROMPT_ID
from csrlhf.data.source import Verdict
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.stats.estimates import in_percent
from csrlhf.stats.policy_report import JudgedAnswer
from csrlhf.terminal import plain_console
from csrlhf.types import PromptRow

# The closing table of an evaluation: policies side by side, then the verdict. 80 columns.

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
    """

    name: str
    value: float
    upper: float
    threshold: float
    confidence: float
    count: int
    policy: str = ""

    @property
    def feasible(self) -> bool:
        return self.upper <= self.threshold

    def line(self) -> str:
        """The verdict as one line."""
        word = "FEASIBLE" if self.feasible else "INFEASIBLE"
        sign = "<=" if self.feasible else ">"
        return (
            f"{self.policy and self.policy + ': '}{word}: {self.name} {self.value:.3f} on {self.count} prompts, "
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


def policy_table(columns: Mapping[str, Mapping[str, float]], verdicts: list[ConstraintVerdict]) -> Group:
    """A rich renderable: one column per policy, a line per constraint below; the verdict is on the last column."""
    table = Table(title="Evaluation on held-out test prompts", title_justify="left", header_style="bold")
    table.add_column("measure", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for row in table_rows(columns):
        table.add_row(*row)
    lines = [Text(v.line(), style="bold green" if v.feasible else "bold red") for v in verdicts]
    lines += [Text(gap, style="yellow") for gap in [judge_gap(list(columns.values())[-1])] if gap]
    return Group(table, *lines)


def _cell(value: float | None, is_rate: bool) -> str:
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:.1%}" if is_rate else f"{value:.3f}"
    return text.removeprefix("-") if float(text.rstrip("%")) == 0 else text


def print_table(columns: Mapping[str, Mapping[str, float]], verdicts: list[ConstraintVerdict]) -> None:
    """Print to the terminal (plain where there is none, or with NO_COLOR)."""
    plain_console(soft_wrap=False).print(policy_table(columns, verdicts))


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
