"""The page of an evaluation: what it says in a few words, cards, sections, dialogues, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.categories import refused
from csrlhf.evaluation.conclusions import Conclusions
from csrlhf.evaluation.evaluation_sections import sections
from csrlhf.evaluation.evaluation_summary import cards, opening, subjects_first
from csrlhf.evaluation.judging import AUTOMATIC, WORDS
from csrlhf.report import Cards, Dialogue, Dialogues, KeyValues, Report, Text

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


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested facts in one level, with dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
