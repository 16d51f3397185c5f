"""The bound on the mean of the worst costs: by hand, and how often it holds."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.errors import UserError
from csrlhf.stats.bounds import tail_mean, tail_mean_estimate


def test_by_hand() -> None:
    costs = np.array([0.0, 0.2, 0.4, 0.8])
    assert tail_mean(costs, 0.5) == pytest.approx(0.6)
    assert tail_mean(costs, 0.6) == pytest.approx((0.15 * 0.4 + 0.25 * 0.8) / 0.4)
    # a tenth of the mass is moved to 1, and to 0
    assert tail_mean(costs, 0.5, 0.1) == pytest.approx((0.15 * 0.4 + 0.25 * 0.8 + 0.1) / 0.5)
    assert tail_mean(costs, 0.5, -0.1) == pytest.approx((0.1 * 0.2 + 0.25 * 0.4 + 0.15 * 0.8) / 0.5)
    assert tail_mean(costs, 0.0, 2.0) == 1.0


def test_the_bounds_close_in_and_hold() -> None:
    random = np.random.default_rng(0)
    truth = 0.9 + 0.1 / 2  # of the uniform distribution, the worst tenth
    held = [tail_mean_estimate(random.random(400).tolist(), 0.9, 0.9) for _ in range(300)]
    assert np.mean([one.upper >= truth for one in held]) >= 0.9
    assert np.mean([one.lower <= truth for one in held]) >= 0.9
    wide, narrow = (tail_mean_estimate(random.random(count).tolist(), 0.5, 0.95) for count in (200, 20000))
    assert narrow.upper - narrow.lower < 0.2 * (wide.upper - wide.lower)


@pytest.mark.parametrize("confidence", [0.4, 1.0])
def test_confidence_names_its_key(confidence: float) -> None:
    with pytest.raises(UserError, match=r"certify\.confidence="):
        tail_mean_estimate([0.1, 0.2], 0.5, confidence)
