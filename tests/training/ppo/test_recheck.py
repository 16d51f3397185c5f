"""A strategy that is asked again in each minibatch: with what, how often, and what its weights do to the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.advantages import GAE
from csrlhf.constraints import Chance, ConstraintState
from csrlhf.errors import UserError
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.penalties.base import Penalty, Weights, ask_weights
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.recheck import Recheck
from csrlhf.training.ppo.update import Counts

Make = Callable[..., Any]


class Slope(Penalty):
    """A weight that follows the violation smoothly: no difference between two violations is hidden by a gate."""

    recheck = True

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        self.asked = [*getattr(self, "asked", []), violation_K]
        weight_K = self.multiplier_K * torch.sigmoid(4.0 * violation_K)
        return Weights(torch.ones_like(weight_K[0]), weight_K, normaliser=1.0 + self.multiplier_K.sum())


def state_of(module: Any, rollout: Any) -> ConstraintState:
    return module.constraints(module.score(rollout).cost_logits_BK)


def moved(module: Any) -> None:
    """The policy as some steps would leave it."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.roles.policy.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=noise))


@pytest.mark.parametrize("how", ["token", "sequence"])
def test_before_any_step_the_loss_is_that_of_the_mix_and_so_is_its_gradient(rolled_out: Make, how: str) -> None:
    """At ρ = 1 neither clip acts: two separate terms and one mixed surrogate are the same."""
    module, rollout, advantages = rolled_out(
        double=True, penalty=Slope(4.0), ppo=PPOConfig(aggregation=how, minibatch_size=64, critic_warmup=0)
    )
    counts, state = Counts.of(rollout.response_mask_BT), state_of(module, rollout)
    gradients = []
    for weights in (None, ask_weights(module.penalty, state.violation_K, state.stderr_K)):
        module.zero_grad()
        loss, _ = module.update.policy_loss(rollout, advantages, counts, weights)
        loss.backward()
        gradients.append([loss.detach(), *(weight.grad.clone() for weight in module.roles.policy.parameters())])
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-9)


def test_the_violation_has_moved_with_the_policy(rolled_out: Make, process: Make) -> None:
    module, rollout, advantages = rolled_out(double=True, penalty=Slope(4.0))
    counts, state = Counts.of(rollout.response_mask_BT), state_of(module, rollout)
    recheck, alone = Recheck(module.roles, module.penalty, state), process(module, 0.1)
    _, metrics = recheck(alone, [(rollout, advantages)], counts)
    torch.testing.assert_close(metrics["penalty/minibatch_violation"], state.violation_K[0].double())
    moved(module)
    weights, metrics = recheck(alone, [(rollout, advantages)], counts)
    logprobs = gather_logprobs(module.roles.policy_logits(rollout), rollout.response_ids_BT).detach()
    per_row = [
        sum(
            (float(now.exp() / old.exp()) - 1.0) * float(cost)
            for now, old, cost, real in zip(*columns, strict=True)
            if real
        )
        for columns in zip(
            logprobs, rollout.logprobs_BT, advantages.cost_advantage_BTK[..., 0], rollout.response_mask_BT, strict=True
        )
    ]
    expected = float(state.violation_K[0]) + sum(per_row) / len(per_row)
    assert abs(sum(per_row)) > 0.01
    assert metrics["penalty/minibatch_violation"].item() == pytest.approx(expected, abs=1e-6)
    assert metrics["penalty/minibatch_weight"].item() == weights.cost_K.item()
    assert not weights.cost_K.requires_grad


def test_each_minibatch_asks_with_the_policy_of_the_moment(rolled_out: Make, process: Make) -> None:
    module, rollout, advantages = rolled_out(
        penalty=Slope(4.0), ppo=PPOConfig(epochs=2, minibatch_size=4, critic_warmup=0)
    )
    state = state_of(module, rollout)
    module.penalty.asked = []
    metrics = module.update(process(module, 0.5), rollout, advantages, 0, 0, penalty=module.penalty, state=state)
    first, *later = [violation.item() for violation in module.penalty.asked]
    assert first == pytest.approx(state.violation_K.item(), abs=1e-6)
    assert len(later) == 3
    assert min(abs(violation - first) for violation in later) > 1e-4
    assert metrics["penalty/minibatch_violation"].item() == pytest.approx((first + sum(later)) / 4, abs=1e-6)


def test_other_strategies_are_asked_once_and_keep_the_mix(rolled_out: Make, process: Make) -> None:
    class Once(Slope):
        recheck = False

    results = []
    for keywords in (True, False):
        module, rollout, advantages = rolled_out(penalty=Once(4.0))
        state = state_of(module, rollout)
        module.penalty.asked = []
        given = {"penalty": module.penalty, "state": state} if keywords else {}
        metrics = module.update(process(module, 0.5), rollout, advantages, 0, 0, **given)
        assert not module.penalty.asked
        assert "penalty/minibatch_weight" not in metrics
        results.append(module.roles.policy.state_dict())
    assert all(torch.equal(weight, results[1][key]) for key, weight in results[0].items())


def test_several_constraints_have_a_figure_each(rolled_out: Make, process: Make, folders: Any) -> None:
    module, rollout, advantages = rolled_out(
        penalty=Slope({"harm": 2.0, "privacy": 1.0}),
        constraints={"harm": Chance(0.3), "privacy": Chance(0.2)},
        inputs=folders.inputs(cost=folders.cost_two),
    )
    state = state_of(module, rollout)
    metrics = module.update(process(module, 0.1), rollout, advantages, 0, 0, penalty=module.penalty, state=state)
    assert {f"penalty/{name}/minibatch_{what}" for name in ("harm", "privacy") for what in ("weight", "violation")} <= (
        metrics.keys()
    )


def test_a_normalised_mix_is_refused(policy_module: Make) -> None:
    with pytest.raises(UserError, match=r"advantage\.normalise=whiten: .* must be none"):
        policy_module(penalty=Slope(4.0), advantage=GAE(normalise="whiten"))


def test_an_estimator_without_the_channels_is_refused(rolled_out: Make, process: Make) -> None:
    module, rollout, advantages = rolled_out(penalty=Slope(4.0))
    bare = replace(advantages, reward_advantage_BT=None, cost_advantage_BTK=None)
    with pytest.raises(UserError, match="must give reward_advantage_BT and cost_advantage_BTK"):
        module.update(
            process(module, 0.1), rollout, bare, 0, 0, penalty=module.penalty, state=state_of(module, rollout)
        )
