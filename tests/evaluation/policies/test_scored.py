"""Answers as the closing table takes them; those that were scored for other constraints are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.table import judged_answers


def test_answers_of_other_constraints_are_refused_by_id(answer: Callable[..., Answer]) -> None:
    scored = [answer("ppo", 0), answer("ppo", 1, cost_logits={"privacy": 0.5})]
    message = r"constraints\.harm: kept\.jsonl holds costs for privacy only \(response 'ppo/test-1/0'\)"
    with pytest.raises(UserError, match=message):
        judged_answers(scored, ["harm"], "kept.jsonl")


def test_answers_that_nobody_scored_are_taken(answer: Callable[..., Answer]) -> None:
    [judged] = judged_answers([answer("ppo", 0, cost_logits={}, violations={})], ["harm"], "kept.jsonl")
    assert judged.response == "yes do it"
