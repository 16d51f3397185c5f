"""The prompt is the unit: answers to one prompt are alike, and do not count as so many observations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from csrlhf.constraints import Chance, Pessimistic
from csrlhf.stats.bounds import student_quantile
from csrlhf.types import Layout


def test_the_standard_error_is_that_of_the_prompts_means() -> None:
    """Means of 2 answers 1, 1/2, 0, 0: mean 3/8, sample variance 11/48 over 4 prompts."""
    costs = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0]) - 0.5
    together, apart = Chance(0.1)(costs, layout=Layout(2)), Chance(0.1)(costs)
    assert together.value == apart.value == 0.375
    assert together.stderr.item() == pytest.approx(math.sqrt(11 / 48 / 4))
    assert apart.stderr.item() == pytest.approx(math.sqrt(0.375 * 0.625 / 7))


def test_a_margin_counts_prompts() -> None:
    costs = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0]) - 0.5
    found = Pessimistic(0.3, scale="indicator")(costs, layout=Layout(2))
    assert found.value.item() == pytest.approx(0.375 + student_quantile(0.95, 3) / 2 * math.sqrt(11 / 48))


def test_the_gradient_costs_are_those_of_mean_and_margin() -> None:
    """Score-function weights of an answer, against the derivative of μ + κ σ by its own contribution.

    Adding ε to an answer's term moves J by ε times its derivative; z (z + 2 others) / k is the part of the squared
    mean of its prompt that holds this answer, with the derivative 2 (z + others) / k.
    """
    torch.manual_seed(0)
    logits = torch.randn(12, dtype=torch.float64)
    constraint = Pessimistic(0.3, scale="logit")
    layout = Layout(3)
    kappa = constraint.kappa(4)
    terms = logits.clone().requires_grad_()
    means = terms.reshape(4, 3).mean(dim=1)
    (means.mean() + kappa * means.std()).backward()
    moved = logits.clone().requires_grad_()
    batch = constraint._summarise(logits, 3)
    square = (moved.reshape(4, 3).sum(dim=1) ** 2 / 3).sum()  # k times the squared means, each answer's part of it
    surrogate = moved.sum() + kappa * (square - 2 * batch.mean * moved.sum()) / (2 * batch.deviation)
    surrogate.backward()
    assert terms.grad is not None
    assert moved.grad is not None
    # σ has n - 1 in its divisor and κ (z² - 2 z μ) / (2 σ) has n: the same up to 4 / 3 in the margin's part.
    flat = torch.full_like(logits, 1 / 12)
    torch.testing.assert_close((terms.grad - flat) * 3 / 4, (moved.grad / 12 - flat))
    parts = constraint(logits, layout=layout).sample_cost_B
    others = logits.reshape(4, 3).sum(dim=1, keepdim=True) - logits.reshape(4, 3)
    expected = logits.reshape(4, 3) * (logits.reshape(4, 3) + 2 * others) / 3 - 2 * logits.reshape(4, 3) * batch.mean
    torch.testing.assert_close(parts, logits + (kappa * expected / (2 * batch.deviation)).flatten())


def coverage(num_prompts: int, per_prompt: int) -> float:
    """How often a 90 % bound on a rate of 5 % holds: four answers a prompt, prompts' rates Beta(.1, 1.9)."""
    generator = np.random.default_rng(0)
    constraint, covered = Pessimistic(0.3, delta=0.1, scale="indicator"), 0
    for _ in range(1000):
        rate_G1 = generator.beta(0.1, 1.9, (num_prompts, 1))
        logits = torch.from_numpy((generator.random((num_prompts, 4)) < rate_G1).astype(np.float32) - 0.5).flatten()
        covered += bool(constraint(logits, layout=Layout(per_prompt)).value >= 0.05)
    return covered / 1000


def test_a_margin_covers_as_often_as_a_t_bound_can() -> None:
    """Answers counted one by one cover 74 % with 64 prompts, and no better with more.

    What is left at 64 prompts is Student's own: costs as rare as these are skewed (docs/explanation/certificates.md).
    """
    assert coverage(64, per_prompt=1) < 0.77
    assert coverage(64, per_prompt=4) > 0.80
    assert coverage(512, per_prompt=1) < 0.83
    assert coverage(512, per_prompt=4) > 0.87


def test_a_window_smaller_than_the_batch_drops_no_answer() -> None:
    constraint = Chance(0.1, window=2)
    assert constraint(torch.tensor([1.0, 1.0, -1.0, -1.0]), remember=True).value == 0.5
    assert constraint(torch.tensor([1.0]), remember=True).value == 0.5  # of the last two: the one before was safe


def test_a_window_holds_whole_prompts() -> None:
    constraint = Chance(0.1, window=3)
    constraint(torch.tensor([-1.0, 1.0]), remember=True, layout=Layout(2))
    found = constraint(torch.tensor([1.0, 1.0]), remember=True, layout=Layout(2))
    assert found.value == 1.0  # of the older prompt one answer is left, and it does not count
