"""Constrained PPO on a tiny world: equalities between strategies, checkpoints, errors."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from transformers import AutoModelForCausalLM

from csrlhf.advantages import GAE, RLOO
from csrlhf.constraints import Chance, Constraints
from csrlhf.errors import InputWarning, UserError
from csrlhf.generation.sampler import Sampler
from csrlhf.penalties import Lagrangian, Linear, NoPenalty, Penalty, Rectified, Weights
from csrlhf.penalties.base import GATES, ask_weights
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.policy import PolicyModule
from csrlhf.training.ppo.roles import FROZEN
from csrlhf.training.ppo.update import Counts
from csrlhf.types import Scores

Make = Callable[..., Any]
NEVER = {"harm": Chance(0.999)}
ALWAYS = {"harm": Chance(0.3, tau=-1e6)}
"""Every answer counts as unsafe."""
"""A threshold that a batch of eight with one safe answer does not reach: the gate stays closed."""


def state_of(module: PolicyModule, *roles: str) -> dict[str, Tensor]:
    prefixes = tuple(f"roles.{role}." for role in roles)
    return {key: value.clone() for key, value in module.state_dict().items() if key.startswith(prefixes)}


def trained(policy_module: Make, prompt_data: Make, tiny: ModuleType, root: Path, epochs: int = 1, **changes: Any):
    module = policy_module(**changes)
    tiny.fit(module, prompt_data(), root, epochs, limit_val_batches=0)
    return module


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [key for key, value in first.items() if not torch.equal(value, second[key])]


@pytest.fixture
def one_step(policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path) -> Make:
    """Policy and critic after one training step."""

    def run(**changes: Any) -> dict[str, Tensor]:
        module = trained(policy_module, prompt_data, tiny, tmp_path, **changes)
        return state_of(module, "policy", "critic")

    return run


def test_a_step_trains_policy_and_critic_and_nothing_frozen(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    start = policy_module()
    start.configure_model()
    module = trained(policy_module, prompt_data, tiny, tmp_path)
    assert len(differing(state_of(start, "policy"), state_of(module, "policy"))) > 5
    assert differing(state_of(start, "critic"), state_of(module, "critic"))
    assert not differing(state_of(start, *FROZEN), state_of(module, *FROZEN))
    assert int(module.iteration) == 1


def test_closed_gate_and_zero_multiplier_are_plain_ppo(one_step: Make) -> None:
    plain = one_step(penalty=NoPenalty(), constraints=NEVER)
    assert not differing(plain, one_step(penalty=Rectified(4.0, margin_z=0.0, normaliser="weights"), constraints=NEVER))
    assert not differing(plain, one_step(penalty=Rectified(4.0, margin_z=0.0, normaliser="none"), constraints=NEVER))
    assert not differing(plain, one_step(penalty=Linear(0.0), constraints=NEVER))
    assert not differing(plain, one_step(penalty=Rectified(0.0, margin_z=0.0), constraints={"harm": Chance(0.3)}))


def test_an_open_gate_is_the_always_on_penalty_and_not_plain_ppo(one_step: Make) -> None:
    opened = one_step(penalty=Rectified(4.0, margin_z=0.0), constraints=ALWAYS)
    assert not differing(opened, one_step(penalty=Linear(4.0), constraints=ALWAYS))
    assert differing(opened, one_step(penalty=NoPenalty(), constraints=ALWAYS))


def test_fixed_normaliser_divides_a_closed_gate_s_advantage(policy_module: Make, prompt_data: Make) -> None:
    data = prompt_data()
    data.setup("fit")
    advantages = []
    for penalty in (NoPenalty(), Rectified(4.0, margin_z=0.0, normaliser="fixed")):
        module = policy_module(penalty=penalty, constraints=NEVER)
        module.configure_model()
        rollout = module.generate(data.batch(0))
        scores = module.score(rollout)
        state = module.constraints(scores.cost_logits_BK)
        mixed, _ = module.estimate_advantages(
            rollout, scores, state, ask_weights(penalty, state.violation_K, state.stderr_K)
        )
        advantages.append(mixed.advantage_BT)
    assert advantages[0].abs().sum() > 0
    torch.testing.assert_close(advantages[1], advantages[0] / 5.0)


def test_costs_reach_the_advantage_with_their_sign(policy_module: Make, prompt_data: Make) -> None:
    """By hand: λ_gae = 1 and a critic of zeros leave (reward - λ · indicator) / (1 + λ) on every token."""
    data = prompt_data()
    data.setup("fit")
    module = policy_module(
        penalty=Linear(4.0), advantage=GAE(lam=1.0), ppo=PPOConfig(kl_coef=0.0, minibatch_size=64, critic_warmup=0)
    )
    module.configure_model()
    torch.nn.init.zeros_(module.roles.critic.head.weight)
    rollout = module.generate(data.batch(0))
    scores = Scores(torch.arange(8.0), torch.tensor([[1.0], [-1.0]] * 4))
    state = module.constraints(scores.cost_logits_BK)
    mixed, _ = module.estimate_advantages(
        rollout, scores, state, ask_weights(module.penalty, state.violation_K, state.stderr_K)
    )
    expected_B = (torch.arange(8.0) - 4.0 * torch.tensor([1.0, 0.0] * 4)) / 5.0
    expected_BT = torch.where(rollout.response_mask_BT, expected_B.unsqueeze(-1), 0.0)
    torch.testing.assert_close(mixed.advantage_BT, expected_BT)


def test_two_constraints_with_a_two_output_cost_model(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path, folders: Any
) -> None:
    module = policy_module(
        inputs=folders.inputs(cost=folders.cost_two),
        constraints={"harm": Chance(0.1), "privacy": Chance(0.2)},
        penalty=Lagrangian({"harm": 2.0, "privacy": 1.0}),
    )
    trainer = tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0)
    metrics = trainer.logged_metrics
    assert module.roles.critic.num_outputs == 3
    for name, start in (("harm", 2.0), ("privacy", 1.0)):
        assert metrics[f"penalty/{name}/weight"].item() == start
        violation = metrics[f"constraint/{name}/violation"].item()
        assert (metrics[f"penalty/{name}/multiplier"].item() > start) == (violation > 0)


def test_every_constraint_needs_an_output_of_its_name(policy_module: Make) -> None:
    module = policy_module(constraints={"harm": Chance(0.1), "privacy": Chance(0.2)})
    with pytest.raises(UserError, match="scores harm and not privacy"):
        module.configure_model()


def test_greedy_answers_train_nothing(policy_module: Make) -> None:
    with pytest.raises(UserError, match=r"rollout\.greedy=true"):
        policy_module(sampler=Sampler(5, greedy=True))


def test_a_warm_up_as_long_as_the_run_is_refused(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module(ppo=PPOConfig(minibatch_size=4, critic_warmup=2))
    with pytest.raises(UserError, match=r"ppo\.critic_warmup=2: must be below ppo\.iterations=2"):
        tiny.fit(module, prompt_data(iterations=2), tmp_path, 2)


@pytest.mark.parametrize(("iterations", "kept"), [(7, 6), (6, 3), (2, 1), (1, 0)])
def test_a_warm_up_leaves_iterations_to_the_policy(policy_module: Make, iterations: int, kept: int) -> None:
    ppo = PPOConfig(minibatch_size=4, critic_warmup=6, iterations=iterations, samples_per_prompt=2)
    told = pytest.warns(InputWarning, match=rf"shortened to {kept}") if kept < 6 else contextlib.nullcontext()
    with told:
        assert policy_module(ppo=ppo, advantage=GAE()).ppo.critic_warmup == kept
    with warnings.catch_warnings():  # without a critic there is nothing to shorten
        warnings.simplefilter("error")
        assert policy_module(ppo=ppo, advantage=RLOO()).ppo.critic_warmup == 0


def test_a_threshold_out_of_the_validation_prompts_reach_is_refused(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module(constraints={"harm": Chance(0.1)})
    with pytest.raises(UserError, match=r"constraints\.harm\.threshold=0\.1 is out of reach.*num_validation=39"):
        tiny.fit(module, prompt_data(), tmp_path, 2)
    tiny.fit(policy_module(constraints={"harm": Chance(0.1)}, penalty=NoPenalty()), prompt_data(), tmp_path, 1)


@pytest.mark.parametrize(("role", "name"), [("reward_model", "train/reward"), ("cost_model", "train/cost")])
def test_scores_that_are_not_finite_stop_with_quantity_and_step(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path, role: str, name: str
) -> None:
    module = policy_module()
    module.configure_model()
    before = state_of(module, "policy", "critic")
    torch.nn.init.constant_(getattr(module.roles, role).model.head.bias, torch.nan)
    with pytest.raises(UserError, match=f"{name} is NaN at step 0"):
        tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0)
    assert not differing(before, state_of(module, "policy", "critic"))


def test_a_loss_that_is_not_finite_steps_nothing(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module()
    module.configure_model()
    torch.nn.init.constant_(module.roles.critic.head.bias, torch.inf)
    before = state_of(module, "policy")
    with pytest.raises(UserError, match=r"critic/loss is .* at step 0"):
        tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0)
    assert not differing(before, state_of(module, "policy"))


def test_critic_warmup_leaves_the_policy_alone(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    start = policy_module()
    start.configure_model()
    ppo = PPOConfig(epochs=1, minibatch_size=4, critic_warmup=1)
    warm = trained(policy_module, prompt_data, tiny, tmp_path, ppo=ppo)
    assert not differing(state_of(start, "policy"), state_of(warm, "policy"))
    assert differing(state_of(start, "critic"), state_of(warm, "critic"))
    after = trained(policy_module, prompt_data, tiny, tmp_path, epochs=2, ppo=ppo)
    assert differing(state_of(start, "policy"), state_of(after, "policy"))


def test_temperature_leaves_the_first_ratio_at_one(policy_module: Make, prompt_data: Make) -> None:
    """With one log-prob for sampling and another for training, an un-updated policy would look clipped."""
    data = prompt_data()
    data.setup("fit")
    for sampler in (Sampler(5, temperature=0.7), Sampler(5, temperature=0.7, top_k=6), Sampler(5, min_new_tokens=2)):
        module = policy_module(sampler=sampler)
        module.configure_model()
        rollout = module.generate(data.batch(0))
        advantages, _ = module.estimate_advantages(
            rollout,
            module.score(rollout),
            state := module.constraints(module.score(rollout).cost_logits_BK),
            ask_weights(module.penalty, state.violation_K, state.stderr_K),
        )
        _, metrics = module.update.policy_loss(rollout, advantages, Counts.of(rollout.response_mask_BT))
        assert metrics["policy/update_kl"].abs().item() < 1e-6
        assert metrics["policy/clip_fraction"].item() == 0.0


def test_resuming_continues_bit_for_bit(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    whole, first, second = policy_module(), policy_module(), policy_module()
    uninterrupted = tiny.fit(whole, prompt_data(), tmp_path / "whole", 2)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    tiny.fit(first, prompt_data(), tmp_path / "parts", 2, enable_checkpointing=True, callbacks=[keep])
    checkpoint = tmp_path / "kept" / "epoch=0.ckpt"
    stored = torch.load(checkpoint, weights_only=True)
    assert not [key for key in stored["state_dict"] if key.startswith(tuple(f"roles.{role}" for role in FROZEN))]
    assert any(key.startswith("roles.critic.") for key in stored["state_dict"])
    torch.rand(5)  # a global generator takes no part
    resumed = tiny.fit(second, prompt_data(), tmp_path / "parts", 2, checkpoint=checkpoint)
    assert not differing(whole.state_dict(), second.state_dict())
    assert stored["state_dict"]["iteration"].item() == 1
    for ours, theirs in zip(uninterrupted.optimizers, resumed.optimizers, strict=True):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert whole.selection.state_dict() == second.selection.state_dict()
    assert whole.gate_history == second.gate_history
    assert whole.final_metrics == second.final_metrics


def test_loading_stays_strict(policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path) -> None:
    module = policy_module()
    tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0).save_checkpoint(tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)
    del stored["state_dict"]["roles.critic.head.weight"]
    torch.save(stored, tmp_path / "broken.ckpt")
    with pytest.raises(RuntimeError, match=r"roles\.critic\.head\.weight"):
        tiny.fit(policy_module(), prompt_data(), tmp_path, 2, checkpoint=tmp_path / "broken.ckpt")


def test_export_writes_the_selected_policy_and_the_last_one(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module()
    tiny.fit(module, prompt_data(), tmp_path, 2)
    best = module.selection.folder(tmp_path)
    module.export(tmp_path / "out")
    last = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "last").state_dict()
    assert not differing(last, module.roles.policy.state_dict())
    handed_over = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert not differing(handed_over, AutoModelForCausalLM.from_pretrained(best).state_dict())
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_metrics_of_a_run(policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path) -> None:
    module = policy_module(penalty=Rectified(4.0, margin_z=0.0), constraints=ALWAYS)
    metrics = tiny.fit(module, prompt_data(), tmp_path, 2).callback_metrics
    assert metrics["penalty/multiplier"].item() == 4.0
    assert metrics["penalty/weight"].item() == 4.0
    assert metrics["penalty/gate"].item() == pytest.approx(1.0)
    assert metrics["constraint/harm/cost"].item() == 1.0
    assert metrics["constraint/harm/violation"].item() == pytest.approx(0.7)
    assert module.final_metrics["penalty/duty_last_third"] == 1.0
    expected = {
        "train/reward", "train/response_length", "train/ended", "policy/logprob", "policy/kl", "policy/kl_k3",
        "policy/loss", "policy/grad_norm", "policy/clip_active", "policy/entropy", "policy/clip_fraction",
        "policy/update_kl",
        "critic/loss", "critic/grad_norm", "constraint/harm/threshold", "constraint/harm/stderr",
        "constraint/harm/cumulative_violation", "validation/reward", "validation/harm/cost", "selection/feasible",
    }  # fmt: skip
    assert expected <= metrics.keys()


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_trains(gate: str, policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path) -> None:
    module = policy_module(penalty=Rectified(4.0, margin_z=0.0, gate=gate), constraints=ALWAYS)
    metrics = tiny.fit(module, prompt_data(), tmp_path, 2).callback_metrics
    assert metrics["penalty/weight"].item() == 4.0
    assert metrics["penalty/gate"].item() == pytest.approx(1.0)
    assert len(list(module.gate.buffers())) == (3 if gate == "previous" else 0)


def test_a_gate_on_other_prompts_needs_some(policy_module: Make) -> None:
    ppo = PPOConfig(batch_size=4, minibatch_size=4, samples_per_prompt=4)
    with pytest.raises(UserError, match=r"penalty\.gate=leave_one_out: 4 responses to one prompt"):
        policy_module(penalty=Rectified(gate="leave_one_out"), advantage=RLOO(), ppo=ppo)


def test_a_clip_that_makes_all_steps_alike_is_told(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    """Every step is cut to the same length: weights of the penalty then change its direction alone."""
    loose, tight = (
        policy_module(constraints=ALWAYS, ppo=PPOConfig(minibatch_size=4, critic_warmup=0, policy_grad_clip=clip))
        for clip in (1e6, 1e-6)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        loose_run = tiny.fit(loose, prompt_data(), tmp_path / "loose", 2)
    assert loose_run.callback_metrics["policy/clip_active"].item() == 0.0
    with pytest.warns(InputWarning, match=r"ppo\.policy_grad_clip=1e-06: it cut 100 % of the late steps"):
        tight_run = tiny.fit(tight, prompt_data(), tmp_path / "tight", 2)
    assert tight_run.callback_metrics["policy/clip_active"].item() == 1.0


def test_a_plug_in_may_leave_the_standard_error_out() -> None:
    class Bare(Penalty):
        def weights(self, violation_K: Tensor) -> Weights:  # type: ignore[override]  # as a plug-in may write it
            return Weights(torch.tensor(1.0), violation_K.clamp(min=0))

    state = Constraints({"harm": Chance(0.25)})(torch.tensor([[1.0], [-1.0]]))
    assert ask_weights(Bare(), state.violation_K, state.stderr_K).cost_K.tolist() == [0.25]
    gate = Rectified(1.0, margin_z=10.0)
    gate.setup(["harm"])
    closed = Constraints({"harm": Chance(0.75)})(torch.tensor([[1.0], [-1.0]]))
    assert ask_weights(gate, closed.violation_K, closed.stderr_K).cost_K.tolist() == [1.0]  # it saw the standard error
