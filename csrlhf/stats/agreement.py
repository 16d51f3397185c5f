"""Agreement of two raters beyond chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from csrlhf.stats.intervals import mean


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Agreement beyond chance, ``(p_o - p_e) / (1 - p_e)`` (Cohen 1960); NaN where both only ever say one thing."""
    if not first:
        return math.nan
    observed = mean([float(a == b) for a, b in zip(first, second, strict=True)])
    p, q = mean([float(a) for a in first]), mean([float(b) for b in second])
    expected = p * q + (1 - p) * (1 - q)
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)
