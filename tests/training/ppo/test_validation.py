"""One evaluation by hand: two batches, four answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from csrlhf.constraints import Chance, Constraints, CVaR, Mean, Pessimistic
from csrlhf.stats.bounds import clopper_pearson_upper
from csrlhf.training.ppo.collapse import CollapseCheck
from csrlhf.training.ppo.config import SelectionSettings
from csrlhf.training.ppo.validation import ValidationMeter
from csrlhf.types import PromptRow, Rollout, Scores


def rollout(*responses: str) -> Rollout:
    """Answers of one token each; the second column is padding."""
    size = len(responses)
    ids = torch.zeros(size, 2, dtype=torch.long)
    mask = torch.tensor([[True, False]]).expand(size, 2)
    rows = tuple(PromptRow("a") for _ in responses)
    return Rollout(ids, mask, ids, mask, torch.zeros(size, 2), mask.all(dim=1), rows, responses)


@pytest.fixture
def meter() -> ValidationMeter:
    meter = ValidationMeter(Constraints({"harm": Chance(0.2), "privacy": Mean(0.3)}))
    flat, sharp = torch.zeros(2, 2, 4), torch.tensor([0.0, -torch.inf, -torch.inf, -torch.inf]).expand(2, 2, 4)
    first = Scores(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    second = Scores(torch.tensor([3.0, 6.0]), torch.tensor([[-1.0, 0.0], [-1.0, 0.0]]))
    meter.add(rollout("yes a", "i can not help"), first, flat, torch.tensor([0.1, 0.3]))
    meter.add(rollout("yes a", "yes b"), second, sharp, torch.tensor([0.0, 0.0]))
    return meter


def test_figures_by_hand(meter: ValidationMeter) -> None:
    result = meter.result()
    assert result.count == 4
    assert result.reward == pytest.approx(3.0)
    assert result.reward_std == pytest.approx(math.sqrt(3.5))  # of 1, 2, 3 and 6
    assert result.value_K == pytest.approx((0.25, 0.5))
    assert result.stderr_K == pytest.approx((0.25, 0.0))  # sample variance 1/4 over 4
    assert result.threshold_K == pytest.approx((0.2, 0.3))
    assert result.kl == pytest.approx(0.1)
    assert result.entropy == pytest.approx(math.log(4) / 2)  # padding does not count
    assert result.refusal_rate == 0.25
    assert result.distinct == 0.75
    assert result.metrics()["validation/privacy/cost"] == pytest.approx(0.5)


def test_bounds_are_exact_for_rates_and_students_for_means(meter: ValidationMeter) -> None:
    harm, privacy = meter.result().upper_bound_K(0.95)
    assert harm == pytest.approx(0.7514, abs=1e-4)  # Clopper-Pearson of 1 in 4
    assert privacy == pytest.approx(0.5)


def test_statistics_of_all_answers_whatever_training_remembers() -> None:
    constraints = Constraints(
        {
            "mean": Mean(0.3, scale="logit", window=100),
            "tail": CVaR(0.3, alpha=0.5, scale="logit", ema=0.5),
            "bound": Pessimistic(0.3, scale="indicator", window=3),
        }
    )
    constraints(torch.full((50, 3), 9.0), remember=True)
    meter = ValidationMeter(constraints)
    for logits in ([[0.0] * 3, [1.0] * 3], [[2.0] * 3, [-1.0] * 3]):
        meter.add(rollout("a", "b"), Scores(torch.zeros(2), torch.tensor(logits)), torch.zeros(2, 2, 4), torch.zeros(2))
    result = meter.result()
    margin = 2.3533634 / 2 * (1 / 3) ** 0.5  # t with 3 degrees of freedom over √4, times the deviation of 0 1 1 0
    assert result.value_K == pytest.approx((0.5, 1.5, 0.5 + margin))
    stderr_mean, stderr_tail = (5 / 3 / 4) ** 0.5, (11 / 3 / 4) ** 0.5  # of 0 1 2 -1, and of its terms 0 2 4 0
    assert result.stderr_K[:2] == pytest.approx((stderr_mean, stderr_tail))
    bounds = result.upper_bound_K(0.99)
    quantile = 4.5407029  # 99 %, 3 degrees of freedom
    assert bounds[:2] == pytest.approx((0.5 + quantile * stderr_mean, 1.5 + quantile * stderr_tail))
    assert bounds[2] == pytest.approx(max(0.5 + margin, clopper_pearson_upper(2, 4, 0.99)))
    assert result.metrics()["validation/tail/stderr"] == pytest.approx(stderr_tail)


def test_the_answers_of_all_processes_count(meter: ValidationMeter) -> None:
    """A second process with the same answers: twice the count, the same rates, half as many distinct ones."""
    result = meter.result(lambda items: items + items)
    assert result.count == 8
    assert result.reward == pytest.approx(3.0)
    assert result.reward_std == pytest.approx(math.sqrt(3.5))  # of 1, 2, 3 and 6
    assert result.value_K == pytest.approx((0.25, 0.5))
    assert result.distinct == 0.375


class Everything:
    """Calls every answer a refusal, and remembers what it was asked."""

    name = "everything"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def refused(self, prompts: Sequence[Any], responses: Sequence[str]) -> list[bool]:
        self.asked += zip(prompts, responses, strict=True)
        return [True] * len(responses)


def test_another_judge_finds_the_refusals_and_reads_the_prompt() -> None:
    judge: Any = Everything()
    meter = ValidationMeter(Constraints({"harm": Chance(0.2)}), judge)
    logits, kl = torch.zeros(2, 2, 4), torch.zeros(2)
    meter.add(rollout("yes a", "yes b"), Scores(torch.zeros(2), torch.zeros(2, 1)), logits, kl)
    result = meter.result()
    assert result.refusal_rate == result.metrics()["validation/refusal_rate"] == 1.0
    assert judge.asked == [("a", "yes a"), ("a", "yes b")]
    assert CollapseCheck(SelectionSettings())._sign(result) == "100% of the responses refuse"
