"""The sections of an evaluation's page: closing table, rates, attacks, refusals, arenas, tests, people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csrlhf.certify.checks import in_percent
from csrlhf.evaluation.agreement import Humans, JudgeAgreement
from csrlhf.evaluation.analysis import Analysis
from csrlhf.evaluation.arena import OUTCOMES, SAFETY, Arena
from csrlhf.evaluation.interval_figure import interval_figure
from csrlhf.evaluation.judging import WORDS
from csrlhf.evaluation.length_control import LengthControl
from csrlhf.evaluation.rates import Estimate
from csrlhf.evaluation.terminal import number, p_value, percent
from csrlhf.metrics.policy_table import judge_gap, table_rows
from csrlhf.report import Matrix, Section, Table, Text


def sections(analysis: Analysis, columns: Mapping[str, Mapping[str, float]]) -> list[Section]:
    """What there is to show, in the order of the page.

    Args:
        analysis: of the answers.
        columns: the closing table's numbers by policy; the last one's judge is compared with the oracle.
    """
    policies = analysis.policies.values()
    found = [_side_by_side(columns, analysis), _rates(analysis)]
    if any(policy.attacks for policy in policies):
        found.append(_attacks(analysis))
    if any(policy.refusals for policy in policies):
        found.append(_refusals(analysis))
    found += [_arena(arena, control) for arena, control in analysis.arenas]
    if analysis.tests:
        found.append(_tests(analysis))
    if analysis.humans is not None:
        found.append(_people(analysis.humans, analysis.judges))
    return found


def _side_by_side(columns: Mapping[str, Mapping[str, float]], analysis: Analysis) -> Section:
    rows = table_rows(columns)
    caption = "Means over all responses."
    if any("oracle/unsafe" in column for column in columns.values()):
        caption += " Where no judge is named, unsafe, helped and refused are by the generated world's own truth."
    distances = {name: policy.kl for name, policy in analysis.policies.items() if policy.kl is not None}
    if distances:
        level = f"{in_percent(analysis.settings.confidence)}% interval"
        caption += f" KL with its {level}: {', '.join(f'{name} {number(kl)}' for name, kl in distances.items())}."
    blocks: list[Any] = [Table(["measure", *columns], rows, caption, name="policies")]
    gap = judge_gap(list(columns.values())[-1])
    return Section("Side by side", [*blocks, *([Text(gap)] if gap else [])])


def _table(columns: Mapping[str, Mapping[str, Estimate]], first: str, caption: str) -> Table:
    """Estimates by row, a column for each policy."""
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    return Table(
        [first, *columns], [[row, *(percent(column.get(row)) for column in columns.values())] for row in rows], caption
    )


def _rates(analysis: Analysis) -> Section:
    columns = {name: {"all prompts": policy.unsafe, **policy.categories} for name, policy in analysis.policies.items()}
    judge, level = WORDS[analysis.settings.judge], f"{in_percent(analysis.settings.confidence)}% intervals"
    several = any(policy.unsafe.num_answers > policy.unsafe.num_prompts for policy in analysis.policies.values())
    method = "Korn-Graubard, for several responses to a prompt" if several else "Clopper-Pearson"
    caption = f"Unsafe by {judge}, in percent, with {level} ({method}; the unit is the prompt)."
    axis = f"unsafe responses by {judge}, percent"
    return Section(
        "Unsafe rate by category",
        [
            _table(columns, "prompts", caption),
            interval_figure("unsafe_by_category", columns, "Unsafe rate by category", f"Points with {level}.", axis),
        ],
    )


def _attacks(analysis: Analysis) -> Section:
    columns = {name: policy.attacks for name, policy in analysis.policies.items()}
    caption = "Share of harmful prompts whose response is unsafe at one attempt, by jailbreak category."
    level = f"{in_percent(analysis.settings.confidence)}% intervals"
    blocks: list[Any] = [
        _table(columns, "attack", caption),
        interval_figure(
            "attack_success",
            columns,
            "Attack success rate at one attempt by jailbreak category",
            f"Points with {level}. The fewer prompts of a kind, the wider.",
            f"attacks that succeed by {WORDS[analysis.settings.judge]}, percent",
        ),
    ]
    if analysis.attempts > 1:
        at_k = {name: policy.attacks_at_k for name, policy in analysis.policies.items()}
        caption = f"Probability that at least one of {analysis.attempts} attempts succeeds (unbiased estimate)."
        blocks.append(_table(at_k, f"attack, {analysis.attempts} attempts", caption))
    return Section("Attack success rate", blocks)


def _refusals(analysis: Analysis) -> Section:
    columns = {name: policy.refusals for name, policy in analysis.policies.items()}
    return Section("Over-refusal", [_table(columns, "harmless prompts", "Share of harmless prompts that are refused.")])


def _arena(arena: Arena, control: LengthControl | None) -> Section:
    title = f"Arena: {arena.challenger} against {arena.baseline}"
    words = [
        f"Win rate by reward, ties counting half: {percent(arena.win_rate)}. Mean reward difference: "
        f"{number(arena.reward_difference)}."
    ]
    if control is not None:
        words.append(
            f"At equal length the reward difference is {number(control.intercept)} (intercept of the line of reward "
            f"difference on the length difference; {control.slope:+.4f} a word, responses of {arena.challenger} are "
            f"{abs(control.length_difference):.1f} words {'shorter' if control.length_difference < 0 else 'longer'} on "
            "average)."
        )
    blocks: list[Any] = [Text("\n\n".join(words))]
    if arena.matrix:
        values = [[arena.matrix[safety, word] for word in OUTCOMES] for safety in SAFETY]
        caption = f"Responses of {arena.challenger}, safe or unsafe, by whether their reward is better."
        name = f"arena_{arena.challenger}_vs_{arena.baseline}"
        blocks.append(Matrix(SAFETY, OUTCOMES, values, caption, format="percent", name=name))
    return Section(title, blocks)


def _tests(analysis: Analysis) -> Section:
    pairs = {(test.challenger, test.baseline) for test in analysis.tests}
    first, second = pairs.pop() if len(pairs) == 1 else ("first", "second")
    rows = [
        [
            test.group.replace("/", ": "),
            f"{test.challenger} : {test.baseline}",
            test.num_prompts,
            test.only_challenger,
            test.only_baseline,
            test.difference,
            p_value(test.p_value),
            p_value(test.adjusted),
        ]
        for test in analysis.tests
    ]
    heads = ["prompts", "policies", "n", f"only {first} unsafe", f"only {second} unsafe", "difference", "p", "p (Holm)"]
    caption = (
        "McNemar's exact test on the prompts where exactly one of the two is unsafe, Holm's correction over all rows: "
        f"below {1 - analysis.settings.confidence:.2g} in the last column, chance hardly explains the difference."
    )
    return Section("Is the difference chance?", [Table(heads, rows, caption, formats={"difference": "percent"})])


def _people(humans: Humans, judges: Sequence[JudgeAgreement]) -> Section:
    rows: list[list[Any]] = [
        [f"raters ({', '.join(humans.raters)})", percent(humans.agreement), number(humans.kappa), None, None]
    ]
    for judge in judges:
        cells = percent(judge.agreement), number(judge.kappa), percent(judge.sensitivity), percent(judge.specificity)
        rows.append([WORDS[judge.judge], *cells])
    caption = (
        f"{humans.num_answers} labelled responses, {percent(humans.unsafe_rate)} unsafe. Raters with each other, each "
        "automatic judge with their majority; kappa's intervals by resampling prompts."
    )
    heads = ["who", "agreement %", "Cohen's kappa", "finds unsafe %", "passes safe %"]
    return Section("Agreement with people", [Table(heads, rows, caption)])
