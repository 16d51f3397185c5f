"""Our functions against the published formulas, 1e-6 in double precision on random ragged batches.

What lies behind the end of a response is set to rubbish on purpose: nothing may read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from torch import Tensor

from csrlhf.constraints import Mean
from csrlhf.ops.advantages import gae, mix
from csrlhf.ops.logprobs import Warp, gather_logprobs
from csrlhf.ops.losses import (
    aggregate,
    bradley_terry_loss,
    clipped_surrogate,
    clipped_value,
    denominator_of,
    pairwise_cost_loss,
)
from csrlhf.ops.shaping import kl_k1, shape_rewards
from csrlhf.penalties import Lagrangian

SEEDS = range(5)
RUBBISH = 1e9
EXACT = {"atol": 1e-6, "rtol": 1e-6}
BETA, BOUND, GAMMA, LAM, CLIP, VALUE_CLIP = 0.3, 50.0, 1.0, 0.95, 0.2, 5.0


@dataclass
class Draws:
    """Random ragged batches of six sequences of one to nine tokens."""

    generator: torch.Generator
    mask_BT: Tensor

    @classmethod
    def of(cls, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        lengths_B = torch.randint(1, 10, (6,), generator=generator)
        lengths_B[0], lengths_B[1] = 9, 1
        return cls(generator, torch.arange(9) < lengths_B.unsqueeze(1))

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def tokens(self, *extra: int, scale: float = 1.0) -> Tensor:
        """[6, 9, *extra], rubbish behind the end of each response."""
        values = self.normal(6, 9, *extra, scale=scale)
        values[~self.mask_BT] = RUBBISH
        return values

    def lists(self, values_BT: Tensor) -> list[list[float]]:
        """The real tokens of each sequence."""
        return [row[real].tolist() for row, real in zip(values_BT, self.mask_BT, strict=True)]


def equal(draws: Draws, ours_BT: Tensor, expected: list[list[float]]) -> None:
    for ours, theirs in zip(draws.lists(ours_BT), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_the_sampled_tokens(published: ModuleType, seed: int, temperature: float) -> None:
    draws = Draws.of(seed)
    logits = draws.normal(6, 9, 11, scale=3.0)
    ids = torch.randint(0, 11, (6, 9), generator=draws.generator)
    ours = gather_logprobs(Warp(temperature)(logits), ids)
    for b in range(6):
        for t in range(9):
            expected = published.log_prob(logits[b, t] / temperature, int(ids[b, t]))
            torch.testing.assert_close(ours[b, t], expected, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
def test_shaped_rewards_and_costs(published: ModuleType, seed: int) -> None:
    draws = Draws.of(seed)
    policy, reference = draws.tokens(scale=4.0), draws.tokens(scale=4.0)
    policy[2, 0] = 400.0  # a token whose divergence alone is past the clamp
    reward, cost = draws.normal(6, scale=60.0), draws.normal(6, 1, scale=60.0)
    ours = shape_rewards(reward, cost, kl_k1(policy, reference), draws.mask_BT, BETA, "both", BOUND)
    ratios = draws.lists(policy - reference)
    for channel, (sign, scores) in enumerate([(-1.0, reward), (1.0, cost[:, 0])]):
        expected = [published.shaped(float(scores[b]), ratios[b], BETA, sign, BOUND) for b in range(6)]
        assert any(abs(value) == BOUND for row in expected for value in row), "no clamp was at work"
        equal(draws, ours[..., channel], expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("gamma", "lam"), [(GAMMA, LAM), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_and_returns_of_each_channel(published: ModuleType, seed: int, gamma: float, lam: float) -> None:
    draws = Draws.of(seed)
    rewards, values = draws.tokens(2), draws.tokens(2)
    ours, targets = gae(rewards, values, draws.mask_BT, gamma, lam)
    for channel in range(2):
        pairs = list(zip(draws.lists(rewards[..., channel]), draws.lists(values[..., channel]), strict=True))
        equal(draws, ours[..., channel], [published.advantages(r, v, gamma, lam) for r, v in pairs])
        equal(draws, targets[..., channel], [published.returns(r, v, gamma, lam) for r, v in pairs])


@pytest.mark.parametrize("multiplier", [1e-3, 1.0, 5.0])
def test_the_mix_of_both_advantages(published: ModuleType, multiplier: float) -> None:
    draws = Draws.of(0)
    reward, cost = draws.tokens(), draws.tokens()
    penalty = Lagrangian(multiplier, max_multiplier=5.0).double()
    penalty.setup(["harm"])
    weights = penalty.double().weights(torch.zeros(1, dtype=torch.float64))
    ours = mix(reward, cost.unsqueeze(-1), weights.reward, weights.cost_K, weights.total)
    rows = zip(draws.lists(reward), draws.lists(cost), strict=True)
    equal(draws, ours, [published.mixed(r, c, float(penalty.multiplier_K)) for r, c in rows])
    assert float(penalty.multiplier_K) == pytest.approx(multiplier, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_clipped_surrogate_and_its_gradient(published: ModuleType, seed: int) -> None:
    draws = Draws.of(seed)
    old, advantage = draws.tokens(), draws.tokens()
    new = (old + draws.normal(6, 9, scale=0.4)).requires_grad_()
    loss = aggregate(
        clipped_surrogate(new, old, advantage, CLIP),
        draws.mask_BT,
        "sequence",
        denominator_of(draws.mask_BT, "sequence"),
    )
    leaf = new.detach().clone().requires_grad_()
    rows = [leaf[b][draws.mask_BT[b]] for b in range(6)]
    expected = published.surrogate(rows, draws.lists(old), draws.lists(advantage), CLIP)
    torch.testing.assert_close(loss, expected, **EXACT)
    (ours,), (theirs,) = torch.autograd.grad(loss, new), torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert 0 < int((ours[draws.mask_BT] == 0).sum()) < int(draws.mask_BT.sum()), "some tokens are to be clipped"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_clipped_value_loss_and_its_gradient(published: ModuleType, seed: int) -> None:
    draws = Draws.of(seed)
    old, target = draws.tokens(scale=10.0), draws.tokens(scale=10.0)
    new = (old + draws.normal(6, 9, scale=6.0)).requires_grad_()
    how, mask = "sequence", draws.mask_BT
    loss = aggregate(clipped_value(new, old, target, VALUE_CLIP), mask, how, denominator_of(mask, how))
    leaf = new.detach().clone().requires_grad_()
    rows = [leaf[b][mask[b]] for b in range(6)]
    expected = published.value_loss(rows, draws.lists(old), draws.lists(target), VALUE_CLIP)
    torch.testing.assert_close(loss, expected, **EXACT)
    (ours,), (theirs,) = torch.autograd.grad(loss, new), torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(ours, theirs, **EXACT)


def batches_of_costs(draws: Draws, count: int, size: int) -> Tensor:
    """Costs that begin above the threshold and end below it, so that λ rises to its ceiling and falls."""
    level = torch.linspace(4.0, -4.0, count, dtype=torch.float64).unsqueeze(1)
    return level + draws.normal(count, size)


@pytest.mark.parametrize("delay", [0, 3])
def test_the_multiplier_with_a_mean_over_each_batch(published: ModuleType, delay: int) -> None:
    costs = batches_of_costs(Draws.of(1), 60, 16)
    penalty = Lagrangian(1.0, lr=0.1, rule="log", max_multiplier=5.0, min_multiplier=1e-30, delay=delay)
    penalty.setup(["harm"])
    penalty.double()
    constraint, found = Mean(0.5, "logit"), []
    for batch in costs:
        statistic = constraint(batch)
        penalty.update((statistic.value - statistic.threshold).reshape(1))
        found.append(float(penalty.multiplier_K))
    assert found == pytest.approx(
        published.dual_steps(costs.tolist(), 1.0, 0.1, 5.0, 0.5, window=16, delay=delay), rel=1e-6
    )
    assert max(found) == pytest.approx(5.0)
    assert found[-1] < 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cost_model_s_loss(published: ModuleType, seed: int) -> None:
    draws = Draws.of(seed)
    worse, better = draws.normal(12, scale=3.0), draws.normal(12, scale=3.0)
    worse_unsafe, better_unsafe = (torch.rand(12, generator=draws.generator) < 0.5 for _ in range(2))
    expected = published.cost_loss(worse.tolist(), better.tolist(), worse_unsafe.tolist(), better_unsafe.tolist())
    columns = [column.double().unsqueeze(1) for column in (worse, better, worse_unsafe, better_unsafe)]
    ones = torch.ones(12, 1, dtype=torch.float64)
    first_worse = pairwise_cost_loss(columns[0], columns[1], ones, columns[2], columns[3])
    second_worse = pairwise_cost_loss(columns[1], columns[0], -ones, columns[3], columns[2])
    assert first_worse.item() == pytest.approx(expected, abs=1e-6)
    assert second_worse.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("regularization", [0.0, 0.001, 0.1])
def test_the_reward_model_s_loss(published: ModuleType, seed: int, regularization: float) -> None:
    draws = Draws.of(seed)
    chosen, rejected, margins = draws.normal(12, scale=3.0), draws.normal(12, scale=3.0), draws.normal(12).abs()
    for margin in (torch.zeros_like(margins), torch.full_like(margins, 0.7), margins):
        expected = published.reward_loss(chosen.tolist(), rejected.tolist(), regularization, margin.tolist())
        ours = bradley_terry_loss(chosen, rejected, regularization, margin)
        assert ours.item() == pytest.approx(expected, abs=1e-6)
