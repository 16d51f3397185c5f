"""One update on several processes and in micro-batches, with every option on: the same numbers as in one piece."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.penalties.base import Penalty, Weights
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.update import take

Make = Callable[..., Any]


class Slope(Penalty):
    """A weight that follows the violation smoothly, asked for in each minibatch."""

    recheck = True

    def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
        weight_K = self.multiplier_K * torch.sigmoid(4.0 * violation_K)
        return Weights(torch.ones_like(weight_K[0]), weight_K, normaliser=1.0 + self.multiplier_K.sum())


OPTIONS: dict[str, Any] = {
    "epochs": 3, "minibatch_size": 5, "entropy_coef": 0.1, "ptx_coef": 0.7, "ptx_batch_size": 5, "value_clip": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("how", ["token", "sequence"])
@pytest.mark.parametrize(("count", "accumulate"), [(1, 3), (2, 1), (2, 2), (4, 1)])
def test_neither_processes_nor_micro_batches_change_an_update(
    rolled_out: Make, prompt_data: Make, process: Make, in_threads: Make, count: int, accumulate: int, how: str
) -> None:
    def run(count: int, accumulate: int, target_kl: float | None) -> list[tuple[Any, ...]]:
        config = PPOConfig(**OPTIONS, aggregation=how, accumulate=accumulate, target_kl=target_kl, critic_warmup=0)
        # Made before the threads start: fresh weights come from torch's one generator.
        made = [rolled_out(double=True, penalty=Slope(4.0), ppo=config) for _ in range(count)]
        for module, _, _ in made:
            module.update.start(prompt_data())

        def update(rank: int, exchange: Any) -> tuple[Any, ...]:
            module, rollout, advantages = made[rank]
            state = module.constraints(module.score(rollout).cost_logits_BK)
            size = len(rollout.rows) // count
            rows = torch.arange(rank * size, (rank + 1) * size)
            metrics = module.update(
                process(module, 0.3, rank, count, exchange), take(rollout, rows), take(advantages, rows), 0, 1,
                penalty=module.penalty, state=state,
            )  # fmt: skip
            return metrics, module.roles.policy.state_dict(), module.roles.critic.state_dict()

        return in_threads(count, update)

    [free] = run(1, 1, None)
    target = 0.6 * float(free[0]["policy/update_kl"])  # passed before the last minibatch
    [(metrics, policy, critic)] = run(1, 1, target)
    assert 0 < metrics["policy/epochs"].item() < 3
    parts = run(count, accumulate, target)
    for part in parts:
        for ours, theirs in ((policy, part[1]), (critic, part[2])):
            assert max((weight - theirs[key]).abs().max().item() for key, weight in ours.items()) < 1e-11
    for key, value in metrics.items():
        mean = sum(float(part[0][key]) for part in parts) / count
        assert mean == pytest.approx(float(value), abs=1e-10), key


def test_the_policy_stops_at_the_target_and_the_critic_goes_on(rolled_out: Make, process: Make) -> None:
    results = {}
    for target_kl in (None, 1e-3, 1e9):
        module, rollout, advantages = rolled_out(
            ppo=PPOConfig(epochs=4, minibatch_size=4, target_kl=target_kl, critic_warmup=0)
        )
        metrics = module.update(process(module, 0.5), rollout, advantages, 0, 0)
        results[target_kl] = metrics, module.roles.policy.state_dict(), module.roles.critic.state_dict()
    assert "policy/epochs" not in results[None][0]
    assert results[1e9][0]["policy/epochs"].item() == 4.0
    made = round(results[1e-3][0]["policy/epochs"].item() * 2)
    assert 1 <= made < 8
    for key, weight in results[None][1].items():
        assert torch.equal(weight, results[1e9][1][key])
    assert any(not torch.equal(weight, results[1e-3][1][key]) for key, weight in results[None][1].items())
    assert all(torch.equal(weight, results[1e-3][2][key]) for key, weight in results[None][2].items())
    # The same steps, no more: a run that has only so many minibatches ends with the same policy.
    module, rollout, advantages = rolled_out(ppo=PPOConfig(epochs=4, minibatch_size=4, critic_warmup=0))
    step, left = module.update._policy_step, [made]

    def limited(*arguments: Any) -> Any:
        left[0] -= 1
        return step(*arguments)[0], left[0] > 0

    module.update._policy_step = limited
    module.update(process(module, 0.5), rollout, advantages, 0, 0)
    stopped = results[1e-3][1]
    assert all(torch.equal(weight, stopped[key]) for key, weight in module.roles.policy.state_dict().items())


def test_ptx_adds_the_gradient_of_the_sft_loss(
    rolled_out: Make, prompt_data: Make, process: Make, tiny: ModuleType
) -> None:
    """A step of plain gradient descent is linear in its loss: the difference of two steps is the PTX loss's own."""
    steps = {}
    for coef in (0.0, 0.5):
        config = PPOConfig(
            epochs=1, minibatch_size=8, ptx_coef=coef, ptx_batch_size=6, policy_grad_clip=1e9, critic_warmup=0
        )
        module, rollout, advantages = rolled_out(double=True, ppo=config)
        start = {key: weight.clone() for key, weight in module.roles.policy.state_dict().items()}
        module.update.start(prompt_data())
        metrics = module.update(process(module, 1.0), rollout, advantages, 0, 3)
        steps[coef] = metrics, {key: weight - start[key] for key, weight in module.roles.policy.state_dict().items()}
    assert "policy/ptx_loss" not in steps[0.0][0]
    torch.testing.assert_close(steps[0.0][0]["policy/loss"], steps[0.5][0]["policy/loss"])  # the surrogate alone
    policy = module.roles.policy
    policy.load_state_dict(start)
    policy.zero_grad()
    prompts = tiny.Source().demonstrations("train")
    encoded = [(module.tokenizer.apply_chat_template(
        [{"role": "user", "content": row.prompt}], add_generation_prompt=True, tokenize=True, return_dict=False
    ), module.tokenizer.encode(row.response, add_special_tokens=False)) for row in prompts]  # fmt: skip
    losses = []
    for row in module.update.ptx.minibatch(3):
        ids = torch.tensor([[*encoded[row][0], *encoded[row][1], module.tokenizer.eos_token_id]])
        logprobs = policy(input_ids=ids).logits[0, :-1].log_softmax(-1)
        losses.append(-logprobs.gather(-1, ids[0, 1:, None])[len(encoded[row][0]) - 1 :])
    expected = torch.cat(losses).mean()
    expected.backward()
    assert steps[0.5][0]["policy/ptx_loss"].item() == pytest.approx(expected.item(), abs=1e-9)
    gradients = {name: weight.grad for name, weight in policy.named_parameters()}
    for name, gradient in gradients.items():
        torch.testing.assert_close(steps[0.5][1][name] - steps[0.0][1][name], -0.5 * gradient, atol=1e-9, rtol=0)
