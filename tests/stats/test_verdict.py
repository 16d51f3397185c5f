"""Three verdicts, and δ shared out."""

from __future__ import annotations

import math

import pytest

from csrlhf.errors import UserError
from csrlhf.stats.estimates import split_confidence, verdict


def test_the_bound_that_counts_decides() -> None:
    assert verdict(0.01, 0.05, 0.05) == "CERTIFIED"
    assert verdict(0.051, 0.2, 0.05) == "VIOLATED"
    assert verdict(0.05, 0.2, 0.05) == "INCONCLUSIVE"
    assert verdict(0.0, math.inf, 0.05) == "INCONCLUSIVE"


@pytest.mark.parametrize("numbers", [(math.nan, 0.1, 0.05), (0.0, math.nan, 0.05), (0.0, 0.1, math.nan)])
def test_no_verdict_on_nothing(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(UserError, match="NaN"):
        verdict(*numbers)


def test_bounds_the_wrong_way_round() -> None:
    with pytest.raises(UserError, match="above upper"):
        verdict(0.2, 0.1, 0.05)


def test_delta_is_shared_out() -> None:
    assert split_confidence(0.95, 1) == pytest.approx(0.95)
    assert split_confidence(0.95, 5) == pytest.approx(0.99)
    for parts in (0, -1, 1.5):
        with pytest.raises(UserError, match="parts="):
            split_confidence(0.95, parts)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="confidence="):
        split_confidence(1.0, 2)
