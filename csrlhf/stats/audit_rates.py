"""With which probability a response is to be labelled: what ``audits.py`` weighs by. Chosen before any label is there.

Any probability in (0, 1] is valid, if it depends on nothing behind the response in the random order. These save labels
(docs/explanation/certificates.md): unsafe responses that are flagged and labelled for sure have the smallest weight.

Legend of suffixes: N responses in their random order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csrlhf.stats.estimates import check_confidence, truth_array

LEAST_RATE = 0.2
"""Of accepted responses: below that hardly fewer labels are needed, and many more responses."""
PATIENCE = 4.0
"""An audit ought to have so many times the labels that certify where none is unsafe, ``ln(1/δ) / d``."""
MANY, FEW, MANY_RATE = 0.1, 5, 0.4
"""A cost model that has flagged more than ``FEW + MANY · n`` of n responses flags mostly safe ones, as far as usual
thresholds go: its flags are then labelled at ``MANY_RATE``."""


def accepted_rate(count: int, threshold: float, confidence: float) -> float:
    """Of responses that the cost model accepts, in whole percents.

    As small as ``LEAST_RATE`` where responses abound, and 1 where they are few: a pool that is used up decides nothing.

    Args:
        count: responses.
        threshold: d; the smallest, where there are several.
        confidence: 1 - δ.
    """
    if threshold <= 0 or count < 1:
        return 1.0
    wanted = PATIENCE * math.log(1 / (1 - check_confidence("confidence", confidence))) / (threshold * count)
    return min(1.0, math.ceil(100 * max(LEAST_RATE, wanted)) / 100)


def labelling_rates(flagged: ArrayLike, accepted: float) -> NDArray[np.float64]:
    """Of every response, [N]: 1 for what is flagged, or less where much was flagged before it; ``accepted`` else.

    Args:
        flagged: by the cost model, in the random order.
        accepted: rate of the others.
    """
    if not np.size(flagged):
        return np.empty(0)
    flag_N = truth_array("flagged", flagged)
    before_N = flag_N.cumsum() - flag_N
    many_N = before_N > FEW + MANY * np.arange(len(flag_N))
    return np.where(flag_N, np.where(many_N, max(MANY_RATE, accepted), 1.0), accepted)
