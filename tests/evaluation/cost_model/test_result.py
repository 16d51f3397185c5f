"""Costs that are no numbers are named by their place."""

from __future__ import annotations

import numpy as np
import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.cost_model.result import check_costs

NAMES = ("harm", "privacy")


def test_the_first_is_named_and_rows_are_counted_once() -> None:
    logits = np.zeros((4, 2))
    check_costs(logits, NAMES, ["somewhere"], str)
    logits[2], logits[3, 0] = [0.0, np.inf], np.nan
    with pytest.raises(UserError) as caught:
        check_costs(logits, NAMES, ["one", "two"], lambda row: f"line {row}")
    assert str(caught.value).startswith("inputs.cost=one, two: the cost of privacy is inf for line 2 (2 of 4 rows")
    logits[2] = [np.nan, np.nan]
    with pytest.raises(UserError, match=r"the cost of harm is nan for 2 \(2 of 4 rows"):
        check_costs(logits, NAMES, ["one"], str)
