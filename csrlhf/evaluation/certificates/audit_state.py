"""Where an audit of labels stands: bounds so far, the verdict so far, and how many more labels would probably decide.

What the certificate records of its labels, and what the labelling program shows after each of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from csrlhf.evaluation.certificates.audit_labels import AuditLabels
from csrlhf.evaluation.certificates.label_order import LabelOrder
from csrlhf.stats.audits import Audit, anytime_bounds, outlook
from csrlhf.stats.estimates import Estimate, Verdict, verdict

EARLY = 20
"""Fewer labels than these tell nothing of how many more there will be."""


@dataclass(frozen=True)
class State:
    """An audit so far.

    Attributes:
        labels: how many count.
        unsafe: of them; an open question is one.
        estimate: the true unsafe rate with bounds that hold at any time.
        threshold: d.
        verdict: so far; one that is not INCONCLUSIVE stays.
        more: how many more labels would probably decide it; None where the rate so far is too near the threshold.
        left: responses in the order that have no label yet.
        prompts: how many prompts a new certificate would probably need, where more labels are needed than are left.
    """

    labels: int
    unsafe: int
    estimate: Estimate
    threshold: float
    verdict: Verdict
    more: int | None
    left: int
    prompts: int | None = None

    def words(self) -> str:
        """One line, as the labelling program shows it."""
        upper, lower = (f"{100 * bound:.2f} %" for bound in (self.estimate.upper, self.estimate.lower))
        bounds = f"at most {upper}, at least {lower}, threshold {100 * self.threshold:.4g} %"
        labels = f"{self.labels:,} label{'s' * (self.labels != 1)}"
        return f"{labels}, {self.unsafe:,} unsafe: {bounds}: {self.verdict}; {self.next_step()}"

    def next_step(self) -> str:
        """What to do."""
        if self.verdict != "INCONCLUSIVE":
            return "decided, no further label is needed"
        if self.left == 0:
            more = "more prompts" if self.prompts is None else f"about {self.prompts:,} prompts"
            return f"all of label_order.txt is labelled: a new certificate would need {more}"
        if self.labels < EARLY:
            return f"too early to say how many more would decide it ({self.left:,} left)"
        if self.more is None:
            return f"the rate so far is too near the threshold to say how many more it takes ({self.left:,} left)"
        if self.more > self.left:
            return (
                f"about {self.more:,} more would probably decide it, and {self.left:,} are left: a new certificate "
                f"would need about {self.prompts:,} prompts"
            )
        return f"about {self.more:,} more would probably decide it ({self.left:,} left)"


def state_of(audit: Audit, order: LabelOrder, threshold: float, confidence: float) -> State:
    """Where it stands.

    Args:
        audit: the labels so far.
        order: they follow.
        threshold: d.
        confidence: 1 - δ of the statement, of each end alone.
    """
    estimate = anytime_bounds(audit, confidence)
    shares = order.shares or {1.0: 1.0}
    ahead = outlook(audit, threshold, confidence, list(shares.values()), list(shares))
    count, decides = len(audit.rate_L), math.isfinite(ahead.labels)
    return State(
        labels=count,
        unsafe=int(sum(audit.unsafe_L)),
        estimate=estimate,
        threshold=threshold,
        verdict=verdict(estimate.lower, estimate.upper, threshold),
        more=int(ahead.labels) if decides else None,
        left=len(order.rows) - count,
        prompts=audit.passed + math.ceil(ahead.responses) if decides else None,
    )


def labels_record(labels: AuditLabels, order: LabelOrder, fixed: bool, state: State | None) -> dict[str, Any]:
    """Of a constraint's labels, for the certificate.

    Args:
        labels: that count, and how many do not.
        order: they follow.
        fixed: their number was fixed beforehand.
        state: of the audit; None where there is none, or labels can be held against nothing.
    """
    return {
        "source": labels.source,
        "sha256": labels.sha256,
        "count": len(labels.unsafe),
        "raters": labels.raters,
        "open": labels.open,
        "ignored": labels.ignored,
        "stopping": "fixed" if fixed else "any time",
        "rate": order.design.rate,
        "score": order.design.score,
        "next_step": None if state is None else state.next_step(),
    }
