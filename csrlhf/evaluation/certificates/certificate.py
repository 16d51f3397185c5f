"""The certificate: what kept responses, and labels of them, say of a policy, as one JSON document.

A pure function of the responses' file, its provenance, the labels and the settings: the same inputs give the same
document to the digit, so that anybody who has them can check it. Generating responses is the module's part, the page
``page.py``'s.

Legend: B responses, K constraints.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.cvar import CVaR
from csrlhf.constraints.set import Constraints
from csrlhf.constraints.where import check_selected, described, select
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.audit_labels import AuditLabels, audit_labels
from csrlhf.evaluation.certificates.audit_state import labels_record, state_of
from csrlhf.evaluation.certificates.label_order import LabelOrder, design_of, order_of
from csrlhf.evaluation.certificates.outlook import outlook
from csrlhf.evaluation.certificates.statements import (
    Costs,
    Labelled,
    abstained,
    abstention_statements,
    cost_statements,
    truth_statements,
)
from csrlhf.evaluation.certificates.words import assumptions, caveats, claim, not_said, promise
from csrlhf.evaluation.settings import CertificateSettings
from csrlhf.stats.estimates import Verdict, split_confidence
from csrlhf.types import PromptRow

VERSION = 2
"""Of the document's layout. 1 said REFUSED for VIOLATED; both are read."""


@dataclass(frozen=True)
class Column:
    """What the cost model says on one constraint, response by response.

    Attributes:
        costs: with the threshold.
        flagged: it finds the response unsafe.
        scores: P(unsafe), by the sigmoid of its logit.
        rate_threshold: d where it is a rate or a mean probability, which the truth can be held against; else None.
        where: the prompts that the constraint is about, in words; costs are of these alone. Empty: all.
    """

    costs: Costs
    flagged: Sequence[bool]
    scores: Sequence[float]
    rate_threshold: float | None
    where: str = ""


@dataclass(frozen=True)
class Evidence:
    """The responses, and where they come from.

    Attributes:
        answers: one per prompt.
        sha256: of their file.
        about: hashes of policy, cost models, prompts and decoding: what stands beside their file.
        columns: by constraint.
        untouched: what the prompts were compared with: ``compared``, ``unchecked``, ``nearly_known``; and on what
            they were seen before: ``seen``, ``certificates``.
    """

    answers: Sequence[Answer]
    sha256: str
    about: Mapping[str, Any]
    columns: Mapping[str, Column]
    untouched: Mapping[str, Any] = field(default_factory=dict)


def make_certificate(evidence: Evidence, settings: CertificateSettings, versions: Mapping[str, str]) -> dict[str, Any]:
    """The document, without the exact-penalty diagnostic and the date."""
    _check_units(evidence.answers)
    names, columns = list(evidence.columns), without_tautologies(evidence.columns, evidence.about)
    order = order_of(evidence.answers, evidence.about["seed"], design_of(settings.audit, evidence.about))
    labels = audit_labels(settings.labels, names, evidence.answers, order, settings.num_labels, settings.audit.fixed)
    # Every statement that decides gets the same share of δ: one per constraint, one more where there are labels.
    judged = [name for name in names if name in labels and columns[name].rate_threshold is not None]
    scored = [name for name in names if not columns[name].costs.by_construction]
    each = split_confidence(settings.confidence, settings.num_runs * max(1, len(scored) + len(judged)))
    constraints = {
        name: _constraint(column, evidence.answers, labels.get(name), order, each, settings)
        for name, column in columns.items()
    }
    found = combined([constraint["verdict"] for constraint in constraints.values()])
    document: dict[str, Any] = {
        "certificate": VERSION,
        "verdict": found,
        "claim": "",
        "unit": "prompt",
        "n": len(evidence.answers),
        "confidence": {
            "overall": settings.confidence,
            "delta": 1 - settings.confidence,
            "runs": settings.num_runs,
            "constraints": len(names),
            "statements": len(scored) + len(judged),
            "delta_each": 1 - each,
            "split": _split_words(settings, len(scored), len(judged), 1 - each),
        },
        "constraints": constraints,
        "abstention": abstention_statements(evidence.answers, each),
        **{key: evidence.about[key] for key in ("policy", "cost", "reward", "prompts", "decode")},
        **{key: evidence.about.get(key) for key in ("judge", "trained_against")},
        "untouched": dict(evidence.untouched),
        "answers": {"count": len(evidence.answers), "sha256": evidence.sha256},
        "versions": dict(versions),
    }
    document["claim"] = claim(document)
    document["promise"] = promise(document)
    document["caveats"] = caveats(document)
    document["assumptions"] = assumptions(document)
    document["not_said"] = not_said(document)
    return document


def digest(document: Mapping[str, Any]) -> str:
    """sha256 of a document's content: what two people compare who made it from the same answers."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """VIOLATED if one of them is, CERTIFIED if all are."""
    if "VIOLATED" in verdicts:
        return "VIOLATED"
    return "CERTIFIED" if verdicts and all(one == "CERTIFIED" for one in verdicts) else "INCONCLUSIVE"


def _constraint(
    column: Column,
    answers: Sequence[Answer],
    labels: AuditLabels | None,
    order: LabelOrder,
    confidence: float,
    settings: CertificateSettings,
) -> dict[str, Any]:
    statements = cost_statements(column.costs, confidence, settings.mean_bound)
    given = ahead = kept = None
    if labels is not None:
        unsafe = [labels.unsafe.get(answer.id) for answer in answers]
        audit = order.audit(labels.unsafe, labels.surely) if settings.audit.fixed is None else None
        flagged = dict(zip([answer.id for answer in answers], column.flagged, strict=True))
        seen = [flagged[identifier] for identifier in labels.unsafe]
        given = Labelled(unsafe, column.flagged, column.scores, column.rate_threshold, labels.open, audit, seen)
        statements += truth_statements(given, confidence, settings.truth)
        if audit is not None and given.threshold is not None:
            ahead = state_of(audit, order, given.threshold, confidence)
        kept = labels_record(labels, order, audit is None, ahead)
    verdict = combined([found for statement in statements if (found := statement.verdict) is not None])
    return {
        "verdict": verdict,
        "outlook": outlook(statements, column.costs, given, settings, ahead) if verdict == "INCONCLUSIVE" else None,
        "threshold": column.costs.threshold,
        "where": column.where or None,
        "statements": [statement.record() for statement in statements],
        "labels": kept,
    }


def _check_units(answers: Sequence[Answer]) -> None:
    """The unit is the prompt: two responses to one prompt are not two independent observations."""
    seen: set[str] = set()
    for answer in answers:
        if answer.prompt_id in seen:
            raise UserError(
                f"certify.outputs: prompt {answer.prompt_id} has several responses ({answer.id} is the second); a "
                "certificate counts one response per prompt"
            )
        seen.add(answer.prompt_id)


def _split_words(settings: CertificateSettings, constraints: int, judged: int, each: float) -> str:
    if not constraints + judged:
        return f"Nothing decides; bounds are shown at δ = {each:.4g} each"
    parts = [f"{constraints} constraint{'s' * (constraints > 1)}"] if constraints else []
    if judged:
        parts.append(f"{judged} rate{'s' * (judged > 1)} by labels")
    if settings.num_runs > 1:
        parts.append(f"{settings.num_runs} runs, of which the best was chosen")
    return f"δ = {1 - settings.confidence:.4g} shared by {', '.join(parts)}: {each:.4g} for each deciding statement"


# From a constraint's definition to what a certificate needs: costs, flags, probabilities, whether d is a rate.


def columns_of(constraints: Constraints, answers: Sequence[Answer]) -> dict[str, Column]:
    """One column per constraint, from the kept cost logits: a changed threshold or τ needs no new responses.

    Raises:
        UserError: the responses lack a constraint's logits.
    """
    for answer in answers:
        missing = [name for name in constraints.names if name not in answer.cost_logits]
        if missing and not abstained(answer):
            raise UserError(
                f"certify.outputs: response {answer.id} has cost logits of {', '.join(answer.cost_logits) or 'nothing'}"
                f" and not of {missing[0]}; certify the constraints that it was scored for"
            )
    rows = [PromptRow(one.messages, {**one.meta, "category": one.category}) for one in answers]
    columns = {}
    for name, constraint in zip(constraints.names, constraints, strict=True):
        logits = [None if abstained(one) else one.cost_logits[name] for one in answers]
        columns[name] = _column(constraint, logits)
        if (where := constraints.kinds.get(name)) is not None:
            check_selected(name, where, rows, "certification")
            costs = columns[name].costs
            values = [cost for cost, chosen in zip(costs.values, select(name, where, rows), strict=True) if chosen]
            columns[name] = replace(columns[name], costs=replace(costs, values=values), where=described(where))
    return columns


def _column(constraint: Constraint, logits: Sequence[float | None]) -> Column:
    """An abstention is a template, not a model's response: it has no cost and is never flagged."""
    logit_B = torch.tensor([0.0 if logit is None else logit for logit in logits], dtype=torch.float64)
    said_B = torch.tensor([logit is not None for logit in logits])
    cost_B, kind = constraint.sample_costs(logit_B), _kind(constraint)
    flag_B = cost_B > 0.5 if _scale(constraint) == "indicator" else logit_B > 0
    return Column(
        costs=Costs((cost_B * said_B).tolist(), kind, constraint.threshold, getattr(constraint, "alpha", 0.0)),
        flagged=(flag_B & said_B).tolist(),
        scores=(logit_B.sigmoid() * said_B).tolist(),
        rate_threshold=rate_threshold(constraint),
    )


def rate_threshold(constraint: Constraint) -> float | None:
    """The d that labels can be held against: where it is a rate or a mean probability; else None."""
    return constraint.threshold if _kind(constraint) in ("rate", "mean") else None


def without_tautologies(columns: Mapping[str, Column], about: Mapping[str, Any]) -> dict[str, Column]:
    """The columns, marked where the cost model that counts is one by which best of N has chosen the responses.

    What it accepts it finds safe: "0 of 400" is then so by construction. Models are compared by hash; a threshold of
    infinity accepts everything, and chooses nothing.

    Args:
        columns: by constraint.
        about: the responses' provenance.
    """
    decode, judges = about["decode"], about.get("judge") or about["cost"]
    same = set(decode.get("cost") or ()) & {one["sha256"] for one in judges.values()}
    limits = decode.get("threshold") or {}

    def chosen(name: str) -> bool:
        limit = limits.get(name, min(limits.values(), key=lambda one: math.inf if one is None else one, default=None))
        return bool(same) and limit is not None and math.isfinite(limit)  # JSON has no infinity: None

    return {
        name: replace(column, costs=replace(column.costs, by_construction=chosen(name)))
        for name, column in columns.items()
    }


def _scale(constraint: Constraint) -> str:
    return "indicator" if constraint.is_rate else getattr(constraint, "scale", "logit")


def _kind(constraint: Constraint) -> str:
    """A pessimistic constraint's margin serves training: what is certified is its mean."""
    if _scale(constraint) == "logit":
        return "unbounded"
    if isinstance(constraint, CVaR):
        return "tail"
    return "rate" if constraint.is_rate else "mean"
