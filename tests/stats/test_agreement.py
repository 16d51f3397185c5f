"""Cohen's kappa, by hand and against another implementation."""

from __future__ import annotations

import math

import pytest
from sklearn.metrics import cohen_kappa_score

from csrlhf.stats.paired import cohen_kappa


def test_kappa_by_hand() -> None:
    first = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)  # p_o 0.7, p_e 0.5
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert cohen_kappa([True, False], [False, True]) == -1.0
    assert math.isnan(cohen_kappa([True, True], [True, True]))
    assert math.isnan(cohen_kappa([], []))
