"""Runs without a critic, and with KL control and normalised scores: through the module, on one and two processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from csrlhf.advantages import GAE, RLOO, Estimator, GroupNorm
from csrlhf.constraints import Chance
from csrlhf.errors import UserError
from csrlhf.penalties import Lagrangian, Linear, NoPenalty, Rectified, Weights
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.policy import PolicyModule

Make = Callable[..., Any]
ESTIMATORS = [GAE(), RLOO(), GroupNorm()]
CRITIC_FREE = [RLOO(), GroupNorm()]
NEVER = {"harm": Chance(0.999)}


def config(**changes: Any) -> PPOConfig:
    return PPOConfig(**({"epochs": 2, "minibatch_size": 4, "samples_per_prompt": 2, "critic_warmup": 0} | changes))


@pytest.fixture
def run(policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path) -> Make:
    """``run(epochs, ...)``: a module after so many iterations, and its trainer."""

    def fit(epochs: int = 1, ppo: PPOConfig | None = None, root: Path = tmp_path, **changes: Any) -> Any:
        options = {
            key: changes.pop(key) for key in ("checkpoint", "callbacks", "enable_checkpointing") if key in changes
        }
        module = policy_module(ppo=ppo or config(), **changes)
        return module, tiny.fit(module, prompt_data(samples_per_prompt=2), root, epochs, **options)

    return fit


def weights_of(module: PolicyModule) -> dict[str, Tensor]:
    return {key: value for key, value in module.state_dict().items() if key.startswith("roles.policy.")}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [key for key, value in first.items() if not torch.equal(value, second[key])]


@pytest.mark.parametrize("advantage", ESTIMATORS, ids=lambda advantage: type(advantage).__name__)
def test_each_estimator_trains_the_policy_and_no_critic_that_it_does_not_need(
    run: Make, policy_module: Make, advantage: Estimator
) -> None:
    start = policy_module()
    start.configure_model()
    module, trainer = run(advantage=advantage)
    assert len(differing(weights_of(start), weights_of(module))) > 5
    keys = [*trainer.callback_metrics, *module.state_dict()]
    has_critic = any(key.startswith(("critic/", "roles.critic.")) for key in keys)
    assert has_critic is advantage.needs_critic
    assert (module.roles.critic is not None) is advantage.needs_critic
    assert len(trainer.optimizers) == 1 + advantage.needs_critic
    assert {"policy/loss", "policy/kl_coef", "penalty/effective_multiplier", "validation/reward"} <= set(keys)


@pytest.mark.parametrize("advantage", CRITIC_FREE, ids=lambda advantage: type(advantage).__name__)
def test_closed_gate_and_zero_multiplier_are_plain(run: Make, advantage: Estimator) -> None:
    def weights(**changes: Any) -> dict[str, Tensor]:
        return weights_of(run(advantage=advantage, **changes)[0])

    plain = weights(penalty=NoPenalty(), constraints=NEVER)
    assert not differing(plain, weights(penalty=Rectified(4.0, margin_z=0.0, normaliser="weights"), constraints=NEVER))
    assert not differing(plain, weights(penalty=Linear(0.0), constraints=NEVER))
    always = {"harm": Chance(0.3, tau=0.0)}
    assert differing(plain, weights(penalty=Linear(50.0), constraints=always))


@pytest.mark.parametrize("advantage", CRITIC_FREE, ids=lambda advantage: type(advantage).__name__)
def test_one_response_per_prompt_is_refused(policy_module: Make, advantage: Estimator) -> None:
    with pytest.raises(UserError, match=r"ppo\.samples_per_prompt=1: .*set ppo\.samples_per_prompt=4"):
        policy_module(advantage=advantage)


def test_without_a_critic_the_policy_waits_for_no_warm_up(run: Make, policy_module: Make) -> None:
    start = policy_module()
    start.configure_model()
    module, _ = run(advantage=RLOO(), ppo=config(critic_warmup=1000), penalty=Lagrangian(2.0, lr=0.5))
    assert differing(weights_of(start), weights_of(module))
    assert module.penalty.multiplier_K.item() != 2.0


def test_resuming_continues_bit_for_bit(run: Make, tmp_path: Path) -> None:
    """The controller's coefficient and the running statistics come back with the rest."""
    ppo = config(kl_control="adaptive", kl_target=0.5, kl_horizon=20, reward_normalise="scale", cost_normalise="whiten")
    # Twelve prompts at each of four looks can show 31 %, not 30.
    changes = {"advantage": RLOO(), "ppo": ppo, "constraints": {"harm": Chance(0.31)}}
    whole, uninterrupted = run(3, root=tmp_path / "whole", **changes)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    run(3, root=tmp_path / "parts", callbacks=[keep], enable_checkpointing=True, **changes)
    checkpoint = tmp_path / "kept" / "epoch=0.ckpt"
    stored = torch.load(checkpoint, weights_only=True)
    assert len(stored["optimizer_states"]) == 1
    assert not [key for key in stored["state_dict"] if key.startswith("roles.critic")]
    second, resumed = run(3, root=tmp_path / "parts", checkpoint=checkpoint, **changes)
    assert not differing(whole.state_dict(), second.state_dict())
    for ours, theirs in zip(uninterrupted.optimizers, resumed.optimizers, strict=True):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert whole.token_rewards.kl_control.coef.item() not in (
        0.1,
        stored["state_dict"]["token_rewards.kl_control.coef"],
    )
    assert whole.token_rewards.scale.count == 3 * 8


@pytest.mark.parametrize("advantage", ESTIMATORS, ids=lambda advantage: type(advantage).__name__)
def test_a_prompt_that_two_processes_share_is_one_group(
    policy_module: Make,
    prompt_data: Make,
    tiny: ModuleType,
    tmp_path: Path,
    on_two_processes: Make,
    advantage: Estimator,
) -> None:
    """Six responses, two per prompt, three per process; KL control and normalisation go over both processes."""

    def fit(root: Path, **options: Any) -> dict[str, Tensor]:
        ppo = config(
            minibatch_size=3, kl_control="adaptive", kl_target=0.5, kl_horizon=20,
            reward_normalise="whiten", cost_normalise="scale",
        )  # fmt: skip
        module = policy_module(advantage=advantage, ppo=ppo, penalty=Lagrangian(2.0, lr=0.5))
        data = prompt_data(batch_size=6, samples_per_prompt=2)
        tiny.fit(module, data, root, 2, limit_val_batches=0, precision="64-true", **options)
        return module.state_dict()

    def on_rank(rank: int) -> None:
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
        torch.save(fit(tmp_path / "work", devices=2, strategy=strategy), tmp_path / f"{rank}.pt")

    alone = fit(tmp_path / "alone")
    assert on_two_processes(on_rank) == [0, 0]
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert state.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(state[key], value, rtol=0, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")
    assert alone["token_rewards.kl_control.coef"].item() != 0.1


def test_the_coefficient_moves_after_the_warm_up(run: Make) -> None:
    adaptive = {"kl_control": "adaptive", "kl_target": 0.01, "kl_horizon": 20}
    module, trainer = run(1, ppo=config(critic_warmup=1, **adaptive), advantage=GAE())
    assert module.token_rewards.kl_control.coef.item() == trainer.callback_metrics["policy/kl_coef"].item() == 0.1
    module, trainer = run(2, ppo=config(critic_warmup=1, **adaptive), advantage=GAE())
    assert trainer.callback_metrics["policy/kl_coef"].item() == pytest.approx(0.1)  # that of the rewards
    assert module.token_rewards.kl_control.coef.item() == pytest.approx(
        0.1 * (1 - 0.2 * 8 / 20)
    )  # the policy had not moved


def test_normalised_scores_leave_the_violation_and_say_what_the_multiplier_costs(run: Make) -> None:
    plain = run(penalty=Linear(4.0))[1].callback_metrics
    module, trainer = run(ppo=config(reward_normalise="scale", cost_normalise="whiten"), penalty=Linear(4.0))
    normalised = trainer.callback_metrics
    deviation = module.token_rewards.scale.deviation_C
    assert normalised["constraint/harm/violation"] == plain["constraint/harm/violation"]
    assert normalised["train/reward"] == plain["train/reward"]
    assert normalised["penalty/multiplier"] == plain["penalty/multiplier"] == 4.0
    assert plain["penalty/effective_multiplier"] == 4.0
    assert normalised["penalty/effective_multiplier"].item() == pytest.approx(
        4.0 * (deviation[0] / deviation[1]).item()
    )
    assert normalised["penalty/effective_multiplier"].item() != pytest.approx(4.0)


def test_several_constraints_have_an_effective_multiplier_each(run: Make, folders: Any) -> None:
    module, trainer = run(
        ppo=config(reward_normalise="scale"),
        inputs=folders.inputs(cost=folders.cost_two),
        constraints={"harm": Chance(0.45), "privacy": Chance(0.5)},
        penalty=Linear({"harm": 4.0, "privacy": 1.0}),
        advantage=GroupNorm(),
    )
    deviation = module.token_rewards.scale.deviation_C[0].item()
    for name, multiplier in (("harm", 4.0), ("privacy", 1.0)):
        found = trainer.callback_metrics[f"penalty/{name}/effective_multiplier"].item()
        assert found == pytest.approx(multiplier * deviation)


def test_a_strategy_that_asks_again_wants_raw_costs(policy_module: Make) -> None:
    class Again(Linear):
        recheck = True

        def weights(self, violation_K: Tensor, stderr_K: Tensor | None = None) -> Weights:
            return super().weights(violation_K)

    with pytest.raises(UserError, match=r"ppo\.cost_normalise=scale: Again .*cost_normalise=none"):
        policy_module(penalty=Again(1.0), ppo=PPOConfig(cost_normalise="scale", minibatch_size=64, critic_warmup=0))
    with pytest.raises(UserError, match=r"ppo\.kl_channels=both: Again .*hold the KL as well.*kl_channels=reward"):
        policy_module(penalty=Again(1.0), ppo=PPOConfig(kl_channels="both", minibatch_size=64, critic_warmup=0))
    with pytest.raises(UserError, match=r"advantage\.normalise=reward: Again .*must be none"):
        policy_module(penalty=Again(1.0), ppo=config(), advantage=GroupNorm())

    class Ranked(RLOO):
        mixes_linearly = False

    with pytest.raises(UserError, match=r"Ranked normalises the mix.* and Again .*advantage=rloo"):
        policy_module(penalty=Again(1.0), ppo=config(), advantage=Ranked())
    policy_module(penalty=Again(1.0), ppo=config(), advantage=GroupNorm(normalise="none"))
    policy_module(penalty=Again(1.0), ppo=config(reward_normalise="scale"), advantage=RLOO())
