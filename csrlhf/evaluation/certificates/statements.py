"""One number about a policy with its bounds: what a certificate consists of.

Each statement holds at its own confidence; how δ is shared among those that decide is ``certificate.py``'s
part. What the cost model finds is ``cost_statements.py``'s, what is true ``truth_statements.py``'s.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from csrlhf.certify.verdict import Verdict, verdict


@dataclass(frozen=True)
class Statement:
    """One number about the policy, with its two one-sided bounds.

    Attributes:
        quantity: what it is, in words.
        method: where the bounds come from.
        value: the point estimate.
        lower: holds alone at ``confidence``.
        upper: likewise.
        confidence: 1 - δ of this statement, of each end alone.
        count: independent prompts (or labels) behind it.
        events: of a rate, how many.
        threshold: what it is held against; None where it only informs.
        decides: it has a part in the verdict, and in the split of δ.
        note: what else to know.
    """

    quantity: str
    method: str
    value: float
    lower: float
    upper: float
    confidence: float
    count: int
    events: int | None = None
    threshold: float | None = None
    decides: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """What follows for the threshold; None of what does not decide."""
        return verdict(self.lower, self.upper, self.threshold) if self.decides and self.threshold is not None else None

    def record(self) -> dict[str, Any]:
        """For JSON, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}
