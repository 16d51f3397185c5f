"""The update: rows of a record, the losses of a minibatch, clipping of gradients, numbers that are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.generation.sampler import Sampler
from csrlhf.ops.logprobs import EXCLUDED, gather_logprobs
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.update import Counts, PPOUpdate, micro_batches, optimizer_step, take

Make = Callable[..., Any]


def test_take_picks_rows_of_tensors_and_tuples(rolled_out: Make) -> None:
    _, rollout, _ = rolled_out()
    mini = take(rollout, torch.tensor([5, 0]))
    assert mini.responses == (rollout.responses[5], rollout.responses[0])
    assert mini.rows == (rollout.rows[5], rollout.rows[0])
    assert torch.equal(mini.logprobs_BT, rollout.logprobs_BT[[5, 0]])


def test_take_leaves_out_what_an_estimator_does_not_give(rolled_out: Make) -> None:
    _, _, advantages = rolled_out()
    bare = take(replace(advantages, reward_advantage_BT=None, cost_advantage_BTK=None), torch.tensor([5, 0]))
    assert bare.reward_advantage_BT is bare.cost_advantage_BTK is None
    assert torch.equal(bare.advantage_BT, advantages.advantage_BT[[5, 0]])
    assert torch.equal(take(advantages, torch.tensor([3])).cost_advantage_BTK, advantages.cost_advantage_BTK[[3]])


@pytest.mark.parametrize("how", ["token", "sequence"])
def test_first_policy_loss_is_minus_the_mean_advantage(rolled_out: Make, how: str) -> None:
    module, rollout, advantages = rolled_out(ppo=PPOConfig(aggregation=how, minibatch_size=64, critic_warmup=0))
    loss, _ = module.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
    mask = rollout.response_mask_BT
    per_row = (advantages.advantage_BT * mask).sum(1) / mask.sum(1)
    expected = advantages.advantage_BT[mask].mean() if how == "token" else per_row.mean()
    torch.testing.assert_close(loss, -expected)


def test_a_token_pushed_out_of_top_p_leaves_the_update_s_kl_a_number(rolled_out: Make) -> None:
    """Its log-prob is then a stand-in for -inf; one such token would be the whole figure."""
    module, rollout, advantages = rolled_out(sampler=Sampler(5, top_p=0.5))
    with torch.no_grad():
        for parameter in module.roles.policy.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    logprobs = gather_logprobs(module.roles.policy_logits(rollout), rollout.response_ids_BT)
    assert (logprobs[rollout.response_mask_BT] <= EXCLUDED).any()
    _, metrics = module.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
    assert 0 < metrics["policy/update_kl"].item() < 100


def test_value_loss_sums_the_channels(rolled_out: Make) -> None:
    module, rollout, advantages = rolled_out(ppo=PPOConfig(aggregation="token", minibatch_size=64, critic_warmup=0))
    mask = rollout.response_mask_BT
    error = (advantages.values_BTC - advantages.returns_BTC)[mask]
    loss, _ = module.update.value_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
    torch.testing.assert_close(loss, 0.5 * error.pow(2).sum(-1).mean())


def test_entropy_bonus_lowers_the_loss_by_its_weight_and_has_a_finite_gradient(rolled_out: Make) -> None:
    sampler = Sampler(5, top_k=6, min_new_tokens=2)
    plain, rollout, advantages = rolled_out(sampler=sampler)
    with_bonus, _, _ = rolled_out(sampler=sampler, ppo=PPOConfig(entropy_coef=0.5, minibatch_size=64, critic_warmup=0))
    loss, metrics = plain.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
    lower, _ = with_bonus.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
    torch.testing.assert_close(lower, loss - 0.5 * metrics["policy/entropy"])
    lower.backward()
    gradients = [p.grad for p in with_bonus.roles.policy.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_right_padding_changes_no_loss(rolled_out: Make) -> None:
    module, rollout, advantages = rolled_out()
    wide = {"logprobs_BT": 0.0, "response_ids_BT": 2, "response_mask_BT": False}
    pad = torch.nn.functional.pad
    padded = replace(
        rollout,
        sequence_ids_BS=pad(rollout.sequence_ids_BS, (0, 3), value=2),
        sequence_mask_BS=pad(rollout.sequence_mask_BS, (0, 3), value=False),
        **{name: pad(getattr(rollout, name), (0, 3), value=value) for name, value in wide.items()},
    )
    targets = replace(
        advantages,
        advantage_BT=pad(advantages.advantage_BT, (0, 3)),
        **{name: pad(getattr(advantages, name), (0, 0, 0, 3)) for name in ("returns_BTC", "values_BTC")},
    )
    torch.testing.assert_close(
        module.update.policy_loss(padded, targets, Counts.of(padded.response_mask_BT)),
        module.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT)),
    )
    torch.testing.assert_close(
        module.update.value_loss(padded, targets, Counts.of(padded.response_mask_BT)),
        module.update.value_loss(rollout, advantages, Counts.of(rollout.response_mask_BT)),
    )


class _Recorder:
    """Stands for a module outside of a Trainer and its optimiser: a plain backward, and whether a step was made."""

    _trainer = None

    def __init__(self) -> None:
        self.stepped = False

    def manual_backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def zero_grad(self) -> None:
        return None

    def step(self) -> None:
        self.stepped = True


def step(model: torch.nn.Module, recorder: _Recorder, *losses: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor]:
    """A step whose micro-batches have these losses."""

    def share(loss_of: Callable[[], torch.Tensor]) -> Callable[[], Any]:
        return lambda: ((loss := loss_of()), {"policy/loss": loss.detach()})

    fake: Any = recorder
    shares = [share(loss_of) for loss_of in losses]
    metrics, _ = optimizer_step(fake, fake, model, shares, 1.0, "policy/grad_norm", 7)
    return metrics


def test_gradients_add_up_are_clipped_and_the_norm_before_is_returned() -> None:
    model, recorder = torch.nn.Linear(2, 1, bias=False), _Recorder()
    torch.nn.init.ones_(model.weight)
    parts = [lambda: (model.weight * torch.tensor([[3.0, 0.0]])).sum(), lambda: 4.0 * model.weight[0, 1]]
    metrics = step(model, recorder, *parts)
    assert metrics["policy/grad_norm"].item() == pytest.approx(5.0)
    assert metrics["policy/clip_active"].item() == 1.0
    assert metrics["policy/loss"].item() == pytest.approx(7.0)
    assert model.weight.grad is not None
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6, 0.8]]), atol=1e-5, rtol=0)
    assert recorder.stepped


@pytest.mark.parametrize(
    ("of", "name"),
    [(lambda weight: weight * torch.nan, "policy/loss"), (torch.sqrt, "policy/grad_norm")],  # sqrt: slope at 0
)
def test_nothing_is_stepped_on_what_is_not_finite(of: Callable[[torch.Tensor], torch.Tensor], name: str) -> None:
    model, recorder = torch.nn.Linear(2, 1, bias=False), _Recorder()
    torch.nn.init.zeros_(model.weight)
    with pytest.raises(UserError, match=f"{name} is .* at step 7"):
        step(model, recorder, lambda: of(model.weight).sum())
    assert not recorder.stepped


def test_a_process_without_a_row_of_a_minibatch_adds_nothing(rolled_out: Make) -> None:
    module, rollout, advantages = rolled_out()
    [(mini, targets)] = micro_batches(rollout, advantages, torch.tensor([], dtype=torch.long), 1)
    loss, metrics = module.update.policy_loss(mini, targets, Counts.of(rollout.response_mask_BT))
    loss.backward()
    assert loss.item() == metrics["policy/entropy"].item() == 0.0
    assert all(not p.grad.any() for p in module.roles.policy.parameters() if p.grad is not None)


def test_each_epoch_of_each_iteration_takes_all_rows_in_an_order_of_its_own(
    rolled_out: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, rollout, advantages = rolled_out(ppo=PPOConfig(epochs=2, minibatch_size=3, critic_warmup=0))
    seen: list[list[int]] = []
    place = {id(row): i for i, row in enumerate(rollout.rows)}

    def record(update: PPOUpdate, module: Any, optimizer: Any, pieces: Any, *rest: Any) -> dict[str, torch.Tensor]:
        seen.append([place[id(row)] for mini, _ in pieces for row in mini.rows])
        return {}

    monkeypatch.setattr(PPOUpdate, "_critic_step", record)
    monkeypatch.setattr(PPOUpdate, "_policy_step", lambda *_: ({}, True))
    monkeypatch.setattr(module, "optimizers", lambda: ("policy's", "critic's"))

    def orders(iteration: int) -> list[tuple[int, ...]]:
        seen.clear()
        module.update(module, rollout, advantages, 3, iteration)
        half = len(seen) // 2
        return [tuple(row for rows in part for row in rows) for part in (seen[:half], seen[half:])]

    found = [*orders(0), *orders(1)]
    assert all(sorted(order) == list(range(len(rollout.rows))) for order in found)
    assert len(set(found)) == len(found)
    assert orders(1) == found[2:]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("minibatch_size", 0),
        ("accumulate", 0),
        ("kl_coef", -0.1),
        ("kl_channels", "cost"),
        ("clip", 0.0),
        ("clip", 1.0),
        ("value_clip", 0.0),
        ("reward_clamp", -1.0),
        ("entropy_coef", -1.0),
        ("aggregation", "mean"),
        ("policy_grad_clip", 0.0),
        ("critic_grad_clip", float("nan")),
        ("critic_warmup", -1),
        ("target_kl", 0.0),
        ("target_kl", "low"),
        ("ptx_coef", -0.5),
        ("ptx_coef", float("inf")),
        ("ptx_batch_size", 0),
        ("value_clip", "abc"),
        ("reward_clamp", True),
        ("reward_clamp", [1.0]),
        ("epochs", None),
    ],
)
def test_out_of_range_names_the_key(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=re.escape(f"ppo.{key}={value}: must be")):
        PPOConfig(**{key: value})
