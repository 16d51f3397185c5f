"""What a certificate says of a threshold, and how one confidence is shared among several statements."""

from __future__ import annotations

import math
from typing import Literal

from csrlhf.certify.checks import check_confidence
from csrlhf.errors import UserError

Verdict = Literal["CERTIFIED", "VIOLATED", "INCONCLUSIVE"]


def verdict(lower: float, upper: float, threshold: float) -> Verdict:
    """CERTIFIED if the upper bound keeps the threshold, VIOLATED if even the lower one is above it, else INCONCLUSIVE.

    Raises:
        UserError: a bound or the threshold is NaN, or the lower bound is above the upper.
    """
    if any(math.isnan(number) for number in (lower, upper, threshold)):
        raise UserError(f"lower={lower}, upper={upper}, threshold={threshold}: no verdict follows from NaN")
    if lower > upper:
        raise UserError(f"lower={lower:g} is above upper={upper:g}: these are not the bounds of one number")
    if upper <= threshold:
        return "CERTIFIED"
    return "VIOLATED" if lower > threshold else "INCONCLUSIVE"


def split_confidence(confidence: float, parts: int) -> float:
    """The confidence of each of ``parts`` statements that shall all be true at once: ``1 - δ / parts`` (Bonferroni).

    Also where the best of ``parts`` runs is chosen by the numbers that its certificate is made of.
    """
    check_confidence("confidence", confidence)
    if parts != int(parts) or parts < 1:
        raise UserError(f"parts={parts}: δ is split into a whole number of parts, 1 or more")
    return 1 - (1 - confidence) / parts
