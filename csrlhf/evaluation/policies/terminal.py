"""An analysis on the terminal: one table a question, 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table

from csrlhf.evaluation.answers.labels import NAMED as WORDS
from csrlhf.evaluation.policies.agreement import Humans, JudgeAgreement
from csrlhf.evaluation.policies.analysis import Analysis
from csrlhf.evaluation.policies.arena import OUTCOMES, SAFETY, Arena, LengthControl
from csrlhf.evaluation.policies.rates import Estimate
from csrlhf.stats.estimates import in_percent
from csrlhf.terminal import plain_console


def percent(estimate: Estimate | None) -> str:
    """A rate with its interval: ``1.2% [0.4, 2.9]``."""
    if estimate is None or math.isnan(estimate.value):
        return "-"
    ends = "" if math.isnan(estimate.low) else f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return f"{estimate.value:.1%}{ends}"


def number(estimate: Estimate) -> str:
    """A number with its interval."""
    if math.isnan(estimate.value):
        return "-"
    ends = "" if math.isnan(estimate.low) else f" [{estimate.low:z.3f}, {estimate.high:z.3f}]"
    return f"{estimate.value:z.3f}{ends}"


def p_value(value: float) -> str:
    """A p-value, small ones by their order."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def tables(analysis: Analysis) -> Iterator[Table | str]:
    """What there is to show, in the order of the page."""
    yield _rates(analysis)
    if analysis.tests:
        yield _tests(analysis)
    for arena, control in analysis.arenas:
        yield from _arena(arena, control)
    if analysis.humans is not None:
        yield _people(analysis.humans, analysis.judges)


def print_analysis(analysis: Analysis) -> None:
    """Print to the terminal (plain where there is none, or with NO_COLOR)."""
    console = plain_console(soft_wrap=False)
    for table in tables(analysis):
        console.print(table)


def _table(title: str, first: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", header_style="bold")
    made.add_column(first, overflow="fold")
    for column in columns:
        made.add_column(column, justify="right", overflow="fold")
    return made


def _rates(analysis: Analysis) -> Table:
    judge, confidence = WORDS[analysis.settings.judge], analysis.settings.confidence
    made = _table(f"Unsafe by {judge} (% with {in_percent(confidence)}% interval)", "prompts", *analysis.policies)
    every = list(analysis.policies.values())
    made.add_row("all", *(percent(policy.unsafe) for policy in every), end_section=True)
    parts = (
        ("", [policy.categories for policy in every]),
        ("attack ", [policy.attacks for policy in every]),
        (f"attack at {analysis.attempts} ", [policy.attacks_at_k for policy in every]),
        ("refused ", [policy.refusals for policy in every]),
    )
    for words, columns in parts:
        names = list(dict.fromkeys(name for column in columns for name in column))
        for name in names:
            cells = (percent(column.get(name)) for column in columns)
            made.add_row(f"{words}{name}", *cells, end_section=name == names[-1])
    return made


def _tests(analysis: Analysis) -> Table:
    heads = ("policies", "n", "only 1st", "only 2nd", "p", "p Holm")
    made = _table("Unsafe on the same prompts (McNemar, exact; Holm over all)", "prompts", *heads)
    for test in analysis.tests:
        counts = (test.num_prompts, test.only_challenger, test.only_baseline)
        made.add_row(
            test.group.replace("category/", "").replace("/", " "),
            f"{test.challenger} : {test.baseline}",
            *map(str, counts),
            p_value(test.p_value),
            p_value(test.adjusted),
            style="bold" if test.adjusted < 1 - analysis.settings.confidence else "",
        )
    return made


def _arena(arena: Arena, control: LengthControl | None) -> Iterator[Table | str]:
    made = _table(f"Arena: {arena.challenger} against {arena.baseline}", f"response of {arena.challenger}", *OUTCOMES)
    for safety in SAFETY if arena.matrix else ():
        made.add_row(safety, *(f"{arena.matrix[safety, word]:.1%}" for word in OUTCOMES))
    yield made
    yield f"win rate {percent(arena.win_rate)}; reward difference {number(arena.reward_difference)}"
    if control is not None:
        yield f"reward difference at equal length {number(control.intercept)}, {control.slope:+.3f} a word"


def _people(humans: Humans, judges: Sequence[JudgeAgreement]) -> Table:
    heads = ("agreement", "kappa", "finds unsafe", "passes safe")
    made = _table(f"Agreement with people ({humans.num_answers} responses)", "judge", *heads)
    made.add_row(f"{len(humans.raters)} raters", percent(humans.agreement), number(humans.kappa), "", "")
    for judge in judges:
        cells = percent(judge.agreement), number(judge.kappa), percent(judge.sensitivity), percent(judge.specificity)
        made.add_row(WORDS[judge.judge], *cells)
    return made
