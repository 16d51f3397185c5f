"""The study of certificates: draws, and coverage by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from benchmarks.certificates.toy_study import NAIVE, Draw, resampled, study
from csrlhf.evaluation.answers.records import Answer

Pool = Callable[[int, int, int], list[Answer]]


def test_draws_are_answers_to_different_prompts(pool: Pool) -> None:
    drawn = resampled(pool(1, 1, 5), 20, Random(0))
    assert len({answer.prompt_id for answer in drawn}) == len({answer.id for answer in drawn}) == 20
    assert {answer.prompt for answer in drawn} <= {f"prompt {i}" for i in range(5)}


def test_bounds_hold_of_the_pool_and_the_control_does_not_where_the_cost_model_is_blind(
    pool: Pool, about: dict[str, Any]
) -> None:
    found = {one.statement: one for one in study(pool(20, 100, 1000), about, Draw("ppo", 200, 0), 60)}
    assert found["by the cost model"].truth == 0.02
    assert found["by the cost model"].upper >= 0.9
    assert sum(found["by the cost model"].verdicts.values()) == 60
    assert found[NAIVE].truth == 0.1
    assert found[NAIVE].upper == 0.0


def test_labels_bound_the_truth(pool: Pool, about: dict[str, Any]) -> None:
    found = {one.statement: one for one in study(pool(100, 100, 1000), about, Draw("ppo", 200, 100), 40)}
    audit = found["by labels: audit"]
    assert (audit.truth, audit.nominal) == (0.1, pytest.approx(0.975))
    assert min(audit.upper, audit.lower) >= 0.9
    assert "by labels: Rogan-Gladen" in found
