"""The study of certificates as a program: what is kept, and what it needs. No model, no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.certificates.toy_study import Draw
from benchmarks.toy_certificates import main, outcomes
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer

Pool = Callable[[int, int, int], list[Answer]]


def test_a_scenario_is_made_once(pool: Pool, about: dict[str, Any], tmp_path: Path) -> None:
    draw, given = Draw("ppo", 50, 0), pool(5, 5, 100)
    first = outcomes(tmp_path, draw, 5, given, about)
    assert outcomes(tmp_path, draw, 5, [], about) == first  # of a pool that is not even looked at
    with pytest.raises(ZeroDivisionError):  # other settings, and now it is
        outcomes(tmp_path, draw, 6, [], about)


def test_without_artifacts_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make one with: python"):
        main(["--artifacts", str(tmp_path)])
