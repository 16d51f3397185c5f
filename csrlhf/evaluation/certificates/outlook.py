"""What would probably decide an INCONCLUSIVE constraint: how many prompts, how many labels, or which other judge.

Planning figures: they take what was observed for the truth. A bound of a rate is planned for exactly, the others by
repeating the observed values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from csrlhf.evaluation.certificates.audit_state import State
from csrlhf.evaluation.certificates.statements import Costs, Labelled, Statement, cost_statements, truth_statements
from csrlhf.evaluation.settings import CertificateSettings
from csrlhf.stats.audits import least_labels
from csrlhf.stats.bounds import least_count
from csrlhf.stats.power import growth_to_decide, power_shift, shrunk_rate, trials_to_decide

FAR = 100
"""Times as many prompts or labels as there are: nobody will collect them."""

Outlook = dict[str, Any]


def outlook(
    statements: Sequence[Statement],
    costs: Costs,
    labelled: Labelled | None,
    settings: CertificateSettings,
    audit: State | None = None,
) -> Outlook:
    """What would probably decide.

    Args:
        statements: on the constraint.
        costs: by the cost model.
        labelled: labels of the responses; None without.
        settings: of the certificate.
        audit: of labels that may stop at any time; None where their number was fixed, or there are none.

    Returns:
        ``prompts`` and ``labels``, how many in all, None where that is not what is missing or no number would do; and
        ``sentences``.
    """
    found: Outlook = {"prompts": None, "labels": None, "sentences": []}
    deciding = [one for one in statements if one.decides]
    if costs.by_construction and not deciding:
        fewest = least_labels if settings.audit.fixed is None else least_count
        needed = fewest(costs.threshold, statements[0].confidence)
        return found | {"sentences": [_other_judge(costs, labelled, needed)]}
    for one in deciding:
        if one.verdict != "INCONCLUSIVE":
            continue
        by_labels = costs.by_construction or one is not deciding[0]
        key = "labels" if by_labels else "prompts"
        if by_labels and audit is not None:
            if audit.more is not None:
                found["labels"] = audit.labels + audit.more
                found["prompts"] = audit.prompts if audit.more > audit.left else found["prompts"]
            found["sentences"].append(f"By {audit.labels:,} labels: {audit.next_step()}.")
            continue
        if one.events is not None and one.threshold is not None:
            rate = shrunk_rate(one.events, one.count)
            number, below = trials_to_decide(rate, one.threshold, one.confidence), rate < one.threshold
        elif costs.kind == "unbounded" and not by_labels:
            found["sentences"].append(f"No number of prompts decides it: {one.note}.")
            continue
        elif by_labels:
            assert labelled is not None  # a bound by labels has decided
            found |= _with_labels(one, labelled, settings, found["sentences"])
            continue
        else:
            assert one.threshold is not None  # it decides
            factor, below = growth_to_decide(_grown_costs(costs, settings, one)), one.value < one.threshold
            number = None if factor is None else math.ceil(factor * one.count)
        found[key] = number
        found["sentences"].append(_sentence(one, key, number, below, len(costs.values)))
    return found


def _sentence(one: Statement, key: str, number: int | None, below: bool, prompts: int) -> str:
    observed = f"{100 * one.value:.3g} %" if "share" in one.quantity else f"{one.value:.3g}"
    if number is None or number > FAR * max(1, one.count):
        much = "" if number is None else f" (it would take some {_rounded(number):,} {key})"
        what = f"the observed {_noun(one)}, {observed}, is at the threshold"
        return f"More {key} would probably not decide it: {what}{much}."
    number = max(_rounded(number), one.count + 1)
    end = "certify it" if below else "find it violated"
    how_many = f"some {number:,} {key} ({number - one.count:,} more)"
    words = f"At the observed {_noun(one)} of {observed}, {how_many} would {end} in 4 of 5 cases"
    if key == "labels" and number > prompts:
        words += f"; there are {prompts:,} responses, so it takes as many prompts"
    return f"{words}."


def _noun(one: Statement) -> str:
    return "rate" if "share" in one.quantity else "value"


def _rounded(number: int) -> int:
    """Two digits and a half: a planning figure."""
    step = max(1, 10 ** (len(str(number)) - 2) // 2)
    return math.ceil(number / step) * step


def _other_judge(costs: Costs, labelled: Labelled | None, needed: float) -> str:
    words = (
        "Nothing decides here: the cost model that counts has chosen the responses, and what it accepts it finds safe. "
        "Name another one that judges them (certify.judge=FOLDER), or give labels of them (certify.labels)"
    )
    if labelled is None and costs.kind in ("rate", "mean") and needed <= len(costs.values):
        words += f": {needed:,.0f} labels, none of them unsafe, would certify it"
    return f"{words}."


def _grown_costs(costs: Costs, settings: CertificateSettings, one: Statement) -> Callable[[float], bool]:
    """Whether the observed costs, repeated, decide in most cases."""
    value_N = np.asarray(costs.values)
    start = np.quantile(value_N, costs.alpha) if costs.kind == "tail" else 0.0
    deviation = float(np.maximum(value_N - start, 0).std()) / (1 - costs.alpha)

    def decides(factor: float) -> bool:
        count = math.ceil(factor * len(value_N))
        grown = Costs(np.resize(value_N, count).tolist(), costs.kind, costs.threshold, costs.alpha)
        return _decides(cost_statements(grown, one.confidence, settings.mean_bound)[0], power_shift(deviation, count))

    return decides


def _with_labels(
    one: Statement, labelled: Labelled, settings: CertificateSettings, sentences: list[str]
) -> dict[str, int]:
    """Of a bound that rests on flags and labels: as many times as many of both, alike to those that are there."""
    rows = list(zip(labelled.unsafe, labelled.flagged, labelled.scores, strict=True))
    labels = sum(unsafe is not None for unsafe in labelled.unsafe)

    def decides(factor: float) -> bool:
        chosen = [rows[n % len(rows)] for n in range(math.ceil(factor * len(rows)))]
        unsafe, flagged, scores = zip(*chosen, strict=True)
        grown = Labelled(unsafe, flagged, scores, labelled.threshold)
        return _decides(truth_statements(grown, one.confidence, settings.truth)[0], 0.0)

    factor = growth_to_decide(decides)
    if factor is None:
        what = f"the estimate, {100 * one.value:.3g} %, is at the threshold"
        sentences.append(f"More labels would probably not decide it: {what}.")
        return {}
    found = {"prompts": math.ceil(factor * len(rows)), "labels": math.ceil(factor * labels)}
    how_many = f"some {_rounded(found['prompts']):,} prompts with {_rounded(found['labels']):,} labels"
    sentences.append(f"If they are like those that are there, {how_many} would probably decide it.")
    return found


def _decides(one: Statement, shift: float) -> bool:
    assert one.threshold is not None
    if one.value < one.threshold:
        return one.upper + shift <= one.threshold
    return one.lower - shift > one.threshold
