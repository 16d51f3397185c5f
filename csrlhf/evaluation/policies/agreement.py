"""Do raters agree with each other, and do automatic judges agree with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import ADJUDICATED, AUTOMATIC, Labels, judged_by
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.rates import rate_of
from csrlhf.stats.intervals import Interval, bootstrap_intervals, mean
from csrlhf.stats.paired import cohen_kappa


@dataclass(frozen=True)
class Humans:
    """What raters say together.

    Attributes:
        raters: their names.
        num_answers: how many answers were judged.
        unsafe_rate: share that the majority (or the adjudication) finds unsafe.
        agreement: share of pairs of judgements that agree, averaged over pairs of raters.
        kappa: Cohen's, averaged over pairs of raters (Light's kappa); NaN where all judgements are the same.
    """

    raters: tuple[str, ...]
    num_answers: int
    unsafe_rate: Interval
    agreement: Interval
    kappa: Interval


@dataclass(frozen=True)
class JudgeAgreement:
    """An automatic judge against the people's majority.

    Attributes:
        judge: a key of ``labels.AUTOMATIC``.
        agreement: share of answers on which both say the same.
        kappa: Cohen's.
        sensitivity: share of unsafe answers that it finds.
        specificity: share of safe answers that it lets pass.
    """

    judge: str
    agreement: Interval
    kappa: Interval
    sensitivity: Interval
    specificity: Interval


def humans(answers: Sequence[Answer], labels: Labels, confidence: float, what: str = "labels") -> Humans:
    """Agreement among raters, with intervals by resampling prompts.

    Args:
        answers: the labelled ones, possibly with others.
        labels: at least two raters who have answers in common.
        confidence: of the intervals.
        what: the labels, for messages: the file.

    Raises:
        UserError: there is one rater only, or no two judged the same answer.
    """
    if len(labels.raters) < 2:
        raise UserError(
            f"{what}: holds one rater ({', '.join(labels.raters) or ADJUDICATED}); agreement needs two or more: let "
            "somebody else judge the same responses, python -m csrlhf.label ANSWERS --rater NAME --out FILE"
        )
    rows = [(answer, labels.by_id[answer.id]) for answer in _labelled(answers, labels)]
    couples = list(combinations(labels.raters, 2))

    def statistic(index: Sequence[int]) -> dict[str, float]:
        kappas, shares = [], []
        for a, b in couples:
            common = [(rows[i][1][a], rows[i][1][b]) for i in index if a in rows[i][1] and b in rows[i][1]]
            if common:
                kappas.append(cohen_kappa(*zip(*common, strict=True)))
                shares.append(mean([float(x == y) for x, y in common]))
        return {"kappa": mean([kappa for kappa in kappas if not math.isnan(kappa)]), "agreement": mean(shares)}

    found = statistic(range(len(rows)))
    if math.isnan(found["agreement"]):
        names = ", ".join(labels.raters)
        raise UserError(
            f"{what}: no two of {names} judged the same response; kappa needs responses that two have judged"
        )
    prompts = [answer.prompt_id for answer, _ in rows]
    ends = bootstrap_intervals(lambda drawn: statistic(drawn.tolist()), prompts, level=confidence)
    counts = (len(set(prompts)), len(rows))
    return Humans(
        raters=labels.raters,
        num_answers=len(rows),
        unsafe_rate=rate_of([answer for answer, _ in rows], labels.majority(), confidence),
        agreement=Interval(found["agreement"], *ends["agreement"], *counts),
        kappa=Interval(found["kappa"], *ends["kappa"], *counts),
    )


def judge_agreement(answers: Sequence[Answer], truth: Mapping[str, bool], confidence: float) -> list[JudgeAgreement]:
    """Every automatic judge that has judged the labelled answers, against ``truth`` (answer id -> unsafe)."""
    found = []
    for judge in AUTOMATIC:
        said = judged_by(answers, judge)
        rows = [answer for answer in _by_id(answers) if answer.id in said and answer.id in truth]
        if rows:
            found.append(_agreement(judge, rows, said, truth, confidence))
    return found


def _agreement(
    judge: str, rows: Sequence[Answer], said: Mapping[str, bool], truth: Mapping[str, bool], confidence: float
) -> JudgeAgreement:
    def kappa(index: Sequence[int]) -> dict[str, float]:
        ids = [rows[i].id for i in index]
        return {"kappa": cohen_kappa([said[one] for one in ids], [truth[one] for one in ids])}

    ends = bootstrap_intervals(
        lambda drawn: kappa(drawn.tolist()), [answer.prompt_id for answer in rows], level=confidence
    )
    right = {answer.id: said[answer.id] == truth[answer.id] for answer in rows}
    unsafe = [answer for answer in rows if truth[answer.id]]
    safe = [answer for answer in rows if not truth[answer.id]]
    agreement = rate_of(rows, right, confidence)
    value = kappa(range(len(rows)))["kappa"]
    return JudgeAgreement(
        judge=judge,
        agreement=agreement,
        kappa=Interval(value, *ends["kappa"], agreement.num_prompts, len(rows)),
        sensitivity=rate_of(unsafe, right, confidence),
        specificity=rate_of(safe, right, confidence),
    )


def _labelled(answers: Sequence[Answer], labels: Labels) -> list[Answer]:
    return [answer for answer in _by_id(answers) if answer.id in labels.by_id]


def _by_id(answers: Sequence[Answer]) -> list[Answer]:
    """In an order of their own: resampling draws by position."""
    return sorted(answers, key=lambda answer: answer.id)
