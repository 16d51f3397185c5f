"""Answers of nothing: the end token first, or no token at all. They score, shape and train without a NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.advantages import GAE
from csrlhf.generation.sampler import Sampler
from csrlhf.penalties import Linear
from csrlhf.penalties.base import Penalty, Weights, ask_weights
from csrlhf.training.ppo.config import PPOConfig

Make = Callable[..., Any]


class Again(Penalty):
    """Asked again in each minibatch."""

    recheck = True

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        return Weights(torch.ones_like(self.multiplier_K[0]), self.multiplier_K * (violation_K > 0))


def is_finite(metrics: dict[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in metrics.values())


def ending_at_once(module: Any) -> None:
    """The policy answers with the end token, whatever it is asked."""
    head = module.roles.policy.get_output_embeddings()

    def only_the_end(layer: Any, inputs: Any, logits: Tensor) -> Tensor:
        bonus = torch.zeros_like(logits)
        bonus[..., module.tokenizer.eos_token_id] = 100.0
        return logits + bonus

    head.register_forward_hook(only_the_end)


@pytest.mark.parametrize("sampler", [Sampler(5), Sampler(5, temperature=0.7, top_p=0.9), Sampler(5, top_k=1)])
def test_the_end_token_first(policy_module: Make, prompt_data: Make, process: Make, sampler: Sampler) -> None:
    data = prompt_data()
    data.setup("fit")
    config = PPOConfig(entropy_coef=0.1, minibatch_size=4, kl_coef=0.0, critic_warmup=0)
    module = policy_module(sampler=sampler, penalty=Linear(4.0), ppo=config)
    module.configure_model()
    ending_at_once(module)
    rollout = module.generate(data.batch(0))
    assert rollout.responses == ("",) * 8
    assert rollout.response_mask_BT.tolist() == [[True]] * 8
    scores = module.score(rollout)
    state = module.constraints(scores.cost_logits_BK)
    weights = ask_weights(module.penalty, state.violation_K, state.stderr_K)
    advantages, kl = module.estimate_advantages(rollout, scores, state, weights)
    assert is_finite(kl)
    # One token, whose reward is the score: the advantage is what the critic did not foresee.
    torch.testing.assert_close(
        advantages.reward_advantage_BT[:, 0] + advantages.values_BTC[:, 0, 0], scores.reward_B, atol=1e-3, rtol=0
    )
    assert is_finite(module.update(process(module, 0.1), rollout, advantages, 0, 0))
    assert all(bool(torch.isfinite(weight).all()) for weight in module.roles.parameters())


@pytest.mark.parametrize("how", ["token", "sequence"])
@pytest.mark.parametrize("normalise", ["none", "whiten", "scale"])
@pytest.mark.parametrize("empty", [[0, 3], list(range(8))], ids=["some", "all"])
def test_rows_without_a_token_add_nothing(
    rolled_out: Make, process: Make, empty: list[int], normalise: str, how: str
) -> None:
    """No sampler of ours makes them; one from elsewhere may."""
    penalty = Again(4.0) if normalise == "none" else Linear(4.0)
    config = PPOConfig(epochs=1, minibatch_size=8, aggregation=how, entropy_coef=0.1, target_kl=1.0, critic_warmup=0)
    module, rollout, _ = rolled_out(penalty=penalty, advantage=GAE(normalise=normalise), ppo=config)
    mask_BT = rollout.response_mask_BT.clone()
    mask_BT[empty] = False
    rollout = replace(rollout, response_mask_BT=mask_BT, logprobs_BT=torch.where(mask_BT, rollout.logprobs_BT, 0.0))
    scores = module.score(rollout)
    state = module.constraints(scores.cost_logits_BK)
    weights = ask_weights(module.penalty, state.violation_K, state.stderr_K)
    advantages, kl = module.estimate_advantages(rollout, scores, state, weights)
    for value in (advantages.advantage_BT, advantages.returns_BTC, advantages.cost_advantage_BTK):
        assert bool(torch.isfinite(value).all())
        assert not value[empty].any()
    before = {key: weight.clone() for key, weight in module.roles.policy.state_dict().items()}
    metrics = module.update(process(module, 0.5), rollout, advantages, 0, 0, penalty=penalty, state=state)
    assert is_finite(metrics | kl)
    after = module.roles.policy.state_dict()
    assert all(bool(torch.isfinite(weight).all()) for weight in after.values())
    unchanged = all(torch.equal(weight, before[key]) for key, weight in after.items())
    assert unchanged == (len(empty) == 8)
