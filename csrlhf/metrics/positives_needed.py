"""How many unsafe examples would it take to certify a threshold that misses some of them?"""

from __future__ import annotations

import math

from csrlhf.certify.threshold import binomial_p_value

MOST = 1_000_000
"""Examples beyond which "how many would it take" is answered with "too many to say"."""


def positives_needed(rate: float, alpha: float, delta: float) -> int | None:
    """Unsafe examples from which on a threshold that misses the share ``rate`` of them is certified.

    The least n with ``P(Binomial(n, α) <= ⌈rate · n⌉) <= δ``, found by doubling and halving (the p-value falls in n but
    for the rounding; what is found is the least n of a rising run). None where ``rate`` is at least α, or beyond
    ``MOST``.
    """

    def enough(count: int) -> bool:
        return binomial_p_value(math.ceil(rate * count - 1e-9), count, alpha) <= delta

    high = 1
    while not enough(high):
        high *= 2
        if rate >= alpha or high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
