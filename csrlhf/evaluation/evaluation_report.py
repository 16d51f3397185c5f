"""The page of an evaluation: cards, unsafe rates, arena, tests, agreement, dialogues, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from csrlhf.evaluation.agreement import Humans, JudgeAgreement
from csrlhf.evaluation.analysis import Analysis
from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.arena import OUTCOMES, SAFETY, Arena
from csrlhf.evaluation.categories import refused
from csrlhf.evaluation.judging import AUTOMATIC, WORDS
from csrlhf.evaluation.length_control import LengthControl
from csrlhf.evaluation.rates import Estimate
from csrlhf.evaluation.terminal import number, p_value, percent
from csrlhf.metrics.policy_table import ConstraintVerdict
from csrlhf.report import Card, Cards, Dialogue, Dialogues, Figure, KeyValues, Matrix, Report, Section, Table, Text
from csrlhf.report.palette import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DIALOGUES = 300
"""Dialogues on the page; all of them stand in answers.jsonl."""


def evaluation_report(
    analysis: Analysis,
    answers: Sequence[Answer],
    verdicts: Sequence[ConstraintVerdict],
    provenance: Mapping[str, Any],
) -> Report:
    """Puts the page together.

    Args:
        analysis: of the answers.
        answers: of all policies; some of them are shown.
        verdicts: on the constraints.
        provenance: hashes of policies, scorers, prompts.
    """
    names = list(analysis.policies)
    prompts = len({answer.prompt_id for answer in answers})
    judge = WORDS[analysis.settings.judge]
    report = Report(f"Evaluation: {', '.join(names)}", f"{prompts} prompts, {len(answers)} answers, judged by {judge}")
    report.add(Cards(_cards(analysis, verdicts)))
    report.add(_rates(analysis))
    if any(policy.attacks for policy in analysis.policies.values()):
        report.add(_attacks(analysis))
    if any(policy.refusals for policy in analysis.policies.values()):
        report.add(_refusals(analysis))
    for arena, control in analysis.arenas:
        report.add(_arena(arena, control))
    if analysis.tests:
        report.add(_tests(analysis))
    if analysis.humans is not None:
        report.add(_people(analysis.humans, analysis.judges))
    report.add(_dialogues(analysis, answers))
    report.add(KeyValues("Provenance", _flat(provenance)))
    return report


def _cards(analysis: Analysis, verdicts: Sequence[ConstraintVerdict]) -> list[Card]:
    cards = [
        Card(
            f"{verdict.policy or 'trained policy'}: {verdict.name}",
            "feasible" if verdict.feasible else "infeasible",
            f"{verdict.value:.3f}, {verdict.confidence:.0%} upper bound {verdict.upper:.3f}, "
            f"threshold {verdict.threshold:g}",
            "good" if verdict.feasible else "bad",
        )
        for verdict in verdicts
    ]
    for name, policy in analysis.policies.items():
        if policy.unsafe.num_prompts:
            cards.append(Card(f"{name}: unsafe", f"{policy.unsafe.value:.1%}", _ends(policy.unsafe)))
    for arena, _ in analysis.arenas:
        cards.append(Card(f"{arena.challenger} beats {arena.baseline}", f"{arena.win_rate.value:.1%}", "by reward"))
    return cards


def _ends(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.1%} to {estimate.high:.1%}"


def _table(columns: Mapping[str, Mapping[str, Estimate]], first: str, caption: str) -> Table:
    """Estimates by row, a column for each policy."""
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    return Table(
        [first, *columns], [[row, *(percent(column.get(row)) for column in columns.values())] for row in rows], caption
    )


def _rates(analysis: Analysis) -> Section:
    columns = {name: {"all prompts": policy.unsafe, **policy.categories} for name, policy in analysis.policies.items()}
    judge, confidence = WORDS[analysis.settings.judge], analysis.settings.confidence
    caption = (
        f"Unsafe by {judge}, in percent, with {confidence:.0%} intervals (Clopper-Pearson; the unit is the prompt)."
    )
    return Section(
        "Unsafe rate by category",
        [
            _table(columns, "prompts", caption),
            _bars("unsafe_by_category", columns, "Unsafe rate by category"),
        ],
    )


def _attacks(analysis: Analysis) -> Section:
    columns = {name: policy.attacks for name, policy in analysis.policies.items()}
    caption = "Share of harmful prompts whose answer is unsafe at one attempt, by jailbreak category."
    blocks: list[Any] = [
        _table(columns, "attack", caption),
        _bars("attack_success", columns, "Attack success at one attempt by jailbreak category"),
    ]
    if analysis.attempts > 1:
        at_k = {name: policy.attacks_at_k for name, policy in analysis.policies.items()}
        caption = f"Probability that at least one of {analysis.attempts} attempts succeeds (unbiased estimate)."
        blocks.append(_table(at_k, f"attack, {analysis.attempts} attempts", caption))
    return Section("Attack success", blocks)


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
            f"difference on the length difference; {control.slope:+.4f} a word, answers are "
            f"{control.length_difference:+.1f} words longer on average)."
        )
    blocks: list[Any] = [Text("\n\n".join(words))]
    if arena.matrix:
        values = [[arena.matrix[safety, word] for word in OUTCOMES] for safety in SAFETY]
        caption = f"Answers of {arena.challenger}, safe or unsafe, by whether their reward is better."
        name = f"arena_{arena.challenger}_vs_{arena.baseline}"
        blocks.append(Matrix(SAFETY, OUTCOMES, values, caption, format="percent", name=name))
    return Section(title, blocks)


def _tests(analysis: Analysis) -> Section:
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
    heads = ["prompts", "policies", "n", "only first unsafe", "only second unsafe", "difference", "p", "p (Holm)"]
    caption = "McNemar's exact test on the same prompts; Holm's correction over all rows."
    return Section("Is the difference chance?", [Table(heads, rows, caption, formats={"difference": "percent"})])


def _people(humans: Humans, judges: Sequence[JudgeAgreement]) -> Section:
    rows: list[list[Any]] = [
        [f"raters ({', '.join(humans.raters)})", percent(humans.agreement), number(humans.kappa), None, None]
    ]
    for judge in judges:
        cells = percent(judge.agreement), number(judge.kappa), percent(judge.sensitivity), percent(judge.specificity)
        rows.append([WORDS[judge.judge], *cells])
    caption = (
        f"{humans.num_answers} labelled answers, {percent(humans.unsafe_rate)} unsafe. Raters with each other, each "
        "automatic judge with their majority; kappa's intervals by resampling prompts."
    )
    heads = ["who", "agreement %", "Cohen's kappa", "finds unsafe %", "passes safe %"]
    return Section("Agreement with people", [Table(heads, rows, caption)])


def _dialogues(analysis: Analysis, answers: Sequence[Answer]) -> Dialogues:
    """The first dialogue of each policy and category, then the second of each, and so on."""
    kinds: dict[tuple[str, ...], list[Answer]] = {}
    for answer in answers:
        kinds.setdefault((answer.policy, str(answer.category), str(answer.attack)), []).append(answer)
    chosen = [answer for turn in zip_longest(*kinds.values()) for answer in turn if answer is not None]
    shown = chosen[:MOST_DIALOGUES]
    note = f"{len(shown)} of {len(answers)} answers, from every category; unsafe ones are closed. All: answers.jsonl."
    judge = AUTOMATIC.get(analysis.settings.judge, AUTOMATIC["cost_model"])
    return Dialogues([_dialogue(answer, judge(answer)) for answer in shown], note=note)


def _dialogue(answer: Answer, unsafe: bool | None) -> Dialogue:
    words = {None: "not judged", True: "unsafe", False: "refusal" if refused(answer) else "safe"}
    labels = {"policy": answer.policy, "category": answer.category, "attack": answer.attack, "verdict": words[unsafe]}
    values: dict[str, Any] = {} if answer.reward is None else {"reward": answer.reward}
    values |= {f"cost {name}": logit for name, logit in answer.cost_logits.items()}
    return Dialogue(
        prompt=answer.messages,
        response=answer.response,
        labels={key: value for key, value in labels.items() if value is not None},
        collapsed=unsafe is True,
        values=values,
    )


def _bars(name: str, columns: Mapping[str, Mapping[str, Estimate]], title: str) -> Figure:
    """Horizontal points with intervals, one colour a policy."""
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))

    def draw(axes: Axes, palette: Palette) -> None:
        step = 0.8 / len(columns)
        for series, (policy, column) in enumerate(columns.items()):
            known = [(place, column[row]) for place, row in enumerate(rows) if row in column]
            places = [place + (series - (len(columns) - 1) / 2) * step for place, _ in known]
            values = [rate.value for _, rate in known]
            ends = [[rate.value - rate.low for _, rate in known], [rate.high - rate.value for _, rate in known]]
            colour = palette.series[series % len(palette.series)]
            axes.errorbar(values, places, xerr=ends, fmt="o", color=colour, label=policy, capsize=3, markersize=4)
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("rate")
        axes.legend(loc="best", frameon=False)

    spoken = "; ".join(
        f"{policy}: " + ", ".join(f"{row} {rate.value:.1%}" for row, rate in column.items())
        for policy, column in columns.items()
    )
    return Figure(
        name, draw, f"{title}. {spoken}", title, size=(6.4, 1.2 + 0.32 * len(rows) * max(1, len(columns) / 2))
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested facts in one level, with dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
