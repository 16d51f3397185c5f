"""Numbers with their intervals in one cell."""

from __future__ import annotations

import math

from csrlhf.evaluation.policies.terminal import number
from csrlhf.stats.intervals import Interval


def test_a_number_that_rounds_to_nothing_has_no_sign() -> None:
    assert number(Interval(-1e-8, -2e-8, 4e-4, 10, 10)) == "0.000 [0.000, 0.000]"
    assert number(Interval(-0.25, math.nan, math.nan, 10, 10)) == "-0.250"
