"""An evaluation for people: the page of words, cards, sections and dialogues, and its tables on the terminal.

Everything stands in a ``Conclusions``; nothing is computed here but how it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from csrlhf.evaluation.answers.labels import AUTOMATIC
from csrlhf.evaluation.answers.labels import NAMED as WORDS
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.agreement import Humans, JudgeAgreement
from csrlhf.evaluation.policies.analysis import Analysis, PolicyAnalysis
from csrlhf.evaluation.policies.comparison import OUTCOMES, SAFETY, Arena, LengthControl
from csrlhf.evaluation.policies.conclusions import Conclusions
from csrlhf.evaluation.policies.table import (
    SFT,
    TRAINED,
    ConstraintVerdict,
    closing_section,
    judge_gap,
    number,
    p_value,
    percent,
    table_rows,
)
from csrlhf.refusals.words import WordJudge
from csrlhf.report import (
    Card,
    Cards,
    Dialogue,
    Dialogues,
    KeyValues,
    Matrix,
    Report,
    Section,
    Table,
    Text,
    interval_figure,
    print_blocks,
)
from csrlhf.stats.estimates import in_percent
from csrlhf.stats.intervals import Interval

# What a reader wants first: is it safe, is it helpful, compared with what, and how sure is that?

BELIEF: Mapping[str, str] = {
    "cost_model": (
        "The cost model decides what is unsafe, and a policy that was trained against it may exploit its errors. "
        "Check it with another judge or with people: evaluate.judge, evaluate.labels."
    ),
    "judge_model": "Another cost model than the constraints' decides what is unsafe; it errs, too.",
    "oracle": "The generated world's ground truth decides what is unsafe.",
    "labels": "The majority of the raters decides what is unsafe; responses without labels do not count.",
}
"""How reliable a judge is."""


def opening(found: Conclusions) -> str:
    """The result in sentences, the policy that it is about first."""
    analysis, names = found.analysis, subjects_first(found)
    policies = {name: analysis.policies[name] for name in names}
    said = [
        _sentence("Unsafe responses", {name: policy.unsafe for name, policy in policies.items()}),
        _sentence("Attack success rate on harmful prompts", _attack_cards(policies)),
        _sentence("False refusals of harmless prompts", {name: policy.refused for name, policy in policies.items()}),
    ]
    for arena, _ in analysis.arenas:
        rate = arena.win_rate
        chance = " This may be chance." if rate.low <= 0.5 <= rate.high else ""
        said.append(
            f"By reward {arena.challenger} has the better response than {arena.baseline} in {_share(rate)} of "
            f"the pairs, ties counting half.{chance}"
        )
    level = f"In brackets: {in_percent(analysis.settings.confidence)}% intervals."
    return "\n\n".join([" ".join(filter(None, [*said, level])), BELIEF[analysis.settings.judge]])


def cards(found: Conclusions) -> list[Card]:
    """The verdicts, then safety, helpfulness and reward of the main policy against the other, or of all."""
    made = [_verdict(name, one) for name in _subjects(found) for one in found.verdicts[name]]
    policies = found.analysis.policies
    measures = {
        "unsafe responses": {name: policy.unsafe for name, policy in policies.items()},
        "attacks that succeed": _attack_cards(policies),
        "harmless prompts refused": {name: policy.refused for name, policy in policies.items()},
    }
    for words, rates in measures.items():
        for name in _subjects(found):
            if name in rates and rates[name].num_prompts:
                others = [f"{other} {rate.value:.1%}" for other, rate in rates.items() if other != name]
                against = others if found.main else []
                note = "; ".join([ends for ends in [_ends(rates[name])] if ends] + against)
                made.append(Card(f"{name}: {words}", f"{rates[name].value:.1%}", note))
    for arena, _ in found.analysis.arenas:
        label = f"{arena.challenger} better than {arena.baseline}, by reward"
        made.append(Card(label, f"{arena.win_rate.value:.1%}", _ends(arena.win_rate)))
    return made


def subjects_first(found: Conclusions) -> list[str]:
    """All policies, those that the evaluation is about in front."""
    return list(dict.fromkeys([*_subjects(found), *found.analysis.policies]))


def _subjects(found: Conclusions) -> list[str]:
    return [found.main] if found.main else list(found.analysis.policies)


def _attack_cards(policies: Mapping[str, PolicyAnalysis]) -> dict[str, Interval]:
    return {name: policy.attacks["all"] for name, policy in policies.items() if "all" in policy.attacks}


def _verdict(policy: str, verdict: ConstraintVerdict) -> Card:
    level = f"{in_percent(verdict.confidence)}% upper bound {verdict.upper:.3f}"
    note = f"{verdict.value:.3f} on {verdict.count:,} prompts, {level}, limit {verdict.threshold:g}"
    label = f"{policy}: constraint {verdict.name}"
    if verdict.feasible:
        return Card(label, "feasible", note, "good")
    # None unsafe of 60 leaves a bound above a small limit as well: that is too few prompts, and no fault of the policy.
    return (
        Card(label, "not feasible", note, "bad")
        if verdict.value > verdict.threshold
        else Card(label, "not shown", note, "warn")
    )


def _sentence(what: str, rates: Mapping[str, Interval]) -> str:
    known = [f"{name} {_share(rate)}" for name, rate in rates.items() if rate.num_prompts]
    return f"{what}: {', '.join(known)}." if known else ""


def _share(rate: Interval) -> str:
    ends = _ends(rate)
    return f"{rate.value:.1%} ({ends})" if ends else f"{rate.value:.1%}"


def _ends(estimate: Interval) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.1%} to {estimate.high:.1%}"


def print_evaluation(found: Conclusions, run: str) -> None:
    """The page's tables on the terminal, and last the one that compares the policies, with the verdict.

    Args:
        found: what is said of the answers.
        run: what the trained policy is called where it is the main one.
    """
    shown = {SFT: "SFT", TRAINED: run} if found.main else {name: name for name in found.columns}
    columns = {words: found.columns[name] for name, words in shown.items()}
    print_blocks([*sections(found.analysis, found.columns)[1:], closing_section(columns, found.decisive)])


# The sections: closing table, rates, attacks, refusals, arenas, tests, people.


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
    return Section("Side by side", [*blocks, *([Text(gap, "warn")] if gap else [])])


def _table(columns: Mapping[str, Mapping[str, Interval]], first: str, caption: str) -> Table:
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
    caption = f"Share of harmless prompts that are refused, {_finder(analysis)}."
    return Section("Over-refusal", [_table(columns, "harmless prompts", caption)])


def _finder(analysis: Analysis) -> str:
    """Who finds refusals."""
    if analysis.settings.refusals != WordJudge.name:
        return f"by the judge {analysis.settings.refusals}, or the generated world's own truth where there is one"
    return (
        "by the generated world's own truth, or their words where there is none; words miss refusals that preach: "
        "refusals=FOLDER names a trained judge"
    )


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
    several = len(pairs) > 1
    first, second = ("first", "second") if several else pairs.pop()
    rows = [
        [
            test.group.replace("/", ": "),
            *([f"{test.challenger} : {test.baseline}"] if several else []),
            test.num_prompts,
            test.only_challenger,
            test.only_baseline,
            test.difference,
            p_value(test.p_value),
            p_value(test.adjusted),
        ]
        for test in analysis.tests
    ]
    named = ["prompts", *(["policies"] if several else []), "n", f"only {first} unsafe", f"only {second} unsafe"]
    level = 1 - analysis.settings.confidence
    clear = [place for place, test in enumerate(analysis.tests) if test.adjusted < level]
    caption = (
        "McNemar's exact test on the prompts where exactly one of the two is unsafe, Holm's correction over all rows: "
        f"below {level:.2g} in the last column, chance hardly explains the difference."
    )
    heads, formats = [*named, "difference", "p", "p (Holm)"], {"difference": "percent"}
    return Section("Is the difference chance?", [Table(heads, rows, caption, formats, marked=clear)])


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


MOST_DIALOGUES = 300
"""Dialogues on the page; all of them are in answers.jsonl."""


def evaluation_report(found: Conclusions, answers: Sequence[Answer], provenance: Mapping[str, Any]) -> Report:
    """Puts the page together.

    Args:
        found: what is said of the answers.
        answers: of all policies; some of them are shown.
        provenance: hashes of policies, scorers, prompts.
    """
    names = subjects_first(found)
    prompts = len({answer.prompt_id for answer in answers})
    title = f"Evaluation: {' against '.join(names) if found.main else ', '.join(names)}"
    judge = WORDS[found.analysis.settings.judge]
    report = Report(title, f"{prompts:,} prompts, {len(answers):,} responses, judged by {judge}")
    report.add(Cards(cards(found)))
    report.add(Text(opening(found)))
    for section in sections(found.analysis, found.columns):
        report.add(section)
    report.add(_dialogues(found, answers))
    report.add(KeyValues("Provenance", _flat(provenance)))
    return report


def _dialogues(found: Conclusions, answers: Sequence[Answer]) -> Dialogues:
    """The first dialogue of each policy and category, then the second of each, and so on."""
    kinds: dict[tuple[str, ...], list[Answer]] = {}
    order = subjects_first(found)
    for answer in sorted(answers, key=lambda answer: order.index(answer.policy)):
        kinds.setdefault((answer.policy, str(answer.category), str(answer.attack)), []).append(answer)
    chosen = [answer for turn in zip_longest(*kinds.values()) for answer in turn if answer is not None]
    shown = chosen[:MOST_DIALOGUES]
    note = f"{len(shown)} of {len(answers)} responses, from every category; unsafe ones are closed. All: answers.jsonl."
    judge = AUTOMATIC.get(found.analysis.settings.judge, AUTOMATIC["cost_model"])
    return Dialogues(
        [_dialogue(answer, judge(answer), found.analysis.refused[answer.id]) for answer in shown], note=note
    )


def _dialogue(answer: Answer, unsafe: bool | None, refused: bool) -> Dialogue:
    words = {None: "not judged", True: "unsafe", False: "refusal" if refused else "safe"}
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


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested facts in one level, with dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
