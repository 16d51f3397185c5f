"""An estimated number with its two one-sided bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and how far it can be trusted.

    Example: 3 unsafe of 100 prompts at confidence 0.95:
    ``Estimate(value=0.03, lower=0.008, upper=0.076, method="Clopper-Pearson", count=100)``.

    Attributes:
        value: the point estimate.
        lower: holds alone at the confidence asked for; infinity and its negative where nothing is known.
        upper: likewise. Stating both at once errs in up to twice the share.
        method: where it comes from, in words for the certificate.
        count: independent observations behind it.
    """

    value: float
    lower: float
    upper: float
    method: str
    count: int
