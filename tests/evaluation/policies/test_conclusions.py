"""Verdicts on the constraints where several responses share a prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from csrlhf.constraints import Chance, Constraints, CVaR, Mean, Pessimistic
from csrlhf.constraints.base import Constraint
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.comparison import arena
from csrlhf.evaluation.policies.conclusions import constraint_verdicts
from csrlhf.stats.bounds import clopper_pearson_upper, student_quantile
from csrlhf.stats.intervals import rate_upper

Make = Callable[..., Answer]
TABLE = [[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0], *[[0, 0, 0, 0]] * 36]
"""Unsafe or not, of 40 prompts with four responses each."""


def answers(answer: Make, table: list[list[int]], **changes: Any) -> list[Answer]:
    return [
        answer("ppo", prompt, sample, bool(unsafe), **changes)
        for prompt, group in enumerate(table)
        for sample, unsafe in enumerate(group)
    ]


def test_all_responses_count_and_the_unit_is_the_prompt(answer: Make) -> None:
    [verdict] = constraint_verdicts(answers(answer, TABLE), Constraints({"harm": Chance(0.1)}), 0.95)
    assert verdict.value == pytest.approx(5 / 160)  # once the first alone: 2 of 40
    assert (verdict.count, verdict.each) == (40, 4)
    assert verdict.upper == pytest.approx(rate_upper(TABLE, 0.95))  # type: ignore[arg-type]  # whole numbers
    assert clopper_pearson_upper(5, 160, 0.95) < verdict.upper < clopper_pearson_upper(2, 40, 0.95)
    assert "harm 0.031 on 40 prompts (4 responses each), 95% upper bound" in verdict.line()


def test_one_response_each_is_as_exact_as_ever(answer: Make) -> None:
    [verdict] = constraint_verdicts(
        answers(answer, [group[:1] for group in TABLE]), Constraints({"harm": Chance(0.1)}), 0.95
    )
    assert verdict.upper == clopper_pearson_upper(2, 40, 0.95)
    assert "on 40 prompts, 95%" in verdict.line()


def test_every_prompt_gives_as_many_as_each_has(answer: Make) -> None:
    """A prompt with one response more would else weigh more."""
    uneven = [[1, 0, 1], *[[0, 0]] * 9]
    [verdict] = constraint_verdicts(answers(answer, uneven), Constraints({"harm": Chance(0.3)}), 0.95)
    assert (verdict.value, verdict.each, verdict.count) == (pytest.approx(1 / 20), 2, 10)


@pytest.mark.parametrize("constraint", [Mean(0.5), Pessimistic(0.5), CVaR(0.9, alpha=0.5)])
def test_other_statistics_have_bounds_over_prompts(constraint: Constraint, answer: Make) -> None:
    """Responses that repeat each other add nothing: the same bound as with one each."""
    logits = np.random.default_rng(0).normal(size=30)
    few = [answer("ppo", n, 0, cost_logits={"harm": float(x)}) for n, x in enumerate(logits)]
    many = [answer("ppo", n, s, cost_logits={"harm": float(x)}) for n, x in enumerate(logits) for s in range(4)]
    [once], [four] = (constraint_verdicts(given, Constraints({"harm": constraint}), 0.95) for given in (few, many))
    assert (four.value, four.upper, four.count) == pytest.approx((once.value, once.upper, 30))
    if isinstance(constraint, Mean):
        cost = 1 / (1 + np.exp(-logits))
        reach = student_quantile(0.95, 29) * cost.std(ddof=1) / np.sqrt(30)
        assert once.upper == pytest.approx(cost.mean() + reach)


@pytest.mark.parametrize("each", [1, 4])
def test_a_constraint_on_some_prompts_is_judged_on_these(answer: Make, each: int) -> None:
    """Every other prompt is harmful: the unsafe ones of the others are nothing to it."""
    table = [group[:each] for group in TABLE]
    given = [
        answer("ppo", prompt, sample, bool(unsafe), category="harmful" if prompt % 2 == 0 else "benign")
        for prompt, group in enumerate(table)
        for sample, unsafe in enumerate(group)
    ]
    [verdict] = constraint_verdicts(given, Constraints({"harm": Chance(0.3, where={"category": "harmful"})}), 0.95)
    [alone] = constraint_verdicts(answers(answer, table[::2]), Constraints({"harm": Chance(0.3)}), 0.95)
    assert (verdict.value, verdict.upper, verdict.count) == pytest.approx((alone.value, alone.upper, 20))
    with pytest.raises(UserError, match=r"constraints\.harm\.where: selects none of the 40 test prompts"):
        constraint_verdicts(given, Constraints({"harm": Chance(0.3, where={"category": "odd"})}), 0.95)


class Plain(Chance):
    """A plug-in that knows of no prompts."""

    def forward(self, cost_logits_B: Tensor, gather: Any = lambda value: value, remember: bool = False) -> Any:  # type: ignore[override]  # as before layouts
        return super().forward(cost_logits_B, gather, remember)


def test_a_plug_in_that_knows_of_no_prompts_gets_one_response_of_each(answer: Make) -> None:
    [verdict] = constraint_verdicts(answers(answer, TABLE), Constraints({"harm": Plain(0.1)}), 0.95)
    assert (verdict.each, verdict.upper) == (1, clopper_pearson_upper(2, 40, 0.95))


def test_verdicts_of_four_responses_hold_as_often_as_they_say(answer: Make) -> None:
    """Prompt rates Beta(0.1, 1.9); counted as 400 independent responses the bound of 90 % held in 83 %."""
    rng, held, counted = np.random.default_rng(5), [], []
    chance = Constraints({"harm": Chance(0.5)})
    for _ in range(250):
        table = (rng.random((100, 4)) < rng.beta(0.1, 1.9, (100, 1))).astype(int).tolist()
        [verdict] = constraint_verdicts(answers(answer, table), chance, 0.9)
        held.append(verdict.upper >= 0.05)
        counted.append(clopper_pearson_upper(int(np.sum(table)), 400, 0.9) >= 0.05)
    assert np.mean(held) >= 0.88
    assert np.mean(counted) < 0.87


def test_shares_of_an_arena_are_means_over_prompts(answer: Make) -> None:
    """One prompt with three ties, one with a single win: a half each, not three quarters."""
    ours = [*(answer("new", 0, sample) for sample in range(3)), answer("new", 1, reward=2.0, response="better")]
    theirs = [*(answer("old", 0, sample) for sample in range(3)), answer("old", 1)]
    found = arena(ours, theirs, {one.id: False for one in ours}, 0.95)
    assert found.tie_rate == 0.5
    assert found.win_rate.value == pytest.approx(0.75)
    assert found.matrix["safe", "tie"] == found.matrix["safe", "better"] == 0.5
    assert sum(found.matrix.values()) == pytest.approx(1.0)


def test_nothing_scored_has_no_verdict(answer: Make) -> None:
    unscored = [answer("ppo", 0, cost_logits={}, violations={})]
    assert constraint_verdicts(unscored, Constraints({"harm": Chance(0.1)}), 0.95) == []
