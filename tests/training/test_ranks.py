"""What processes exchange: every one ends with the same state, and a bad number on one of them stops all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from csrlhf.advantages import GAE
from csrlhf.constraints import Chance
from csrlhf.errors import UserError
from csrlhf.penalties import Lagrangian
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.types import Scores

Make = Callable[..., Any]


def test_every_process_has_the_same_multiplier_gate_and_weights(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path, on_two_processes: Make
) -> None:
    def fit(rank: int) -> None:
        module = policy_module(
            penalty=Lagrangian(2.0, lr=0.5),
            constraints={"harm": Chance(0.31)},  # what twelve prompts at each of four looks can show
            advantage=GAE(normalise="scale"),
            ppo=PPOConfig(epochs=2, minibatch_size=3, entropy_coef=0.01, aggregation="sequence", critic_warmup=0),
        )
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
        tiny.fit(module, prompt_data(), tmp_path / "work", 3, devices=2, strategy=strategy, limit_val_batches=1.0)
        torch.save({"state": module.state_dict(), "gate": module.gate_history}, tmp_path / f"{rank}.pt")

    assert on_two_processes(fit) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["gate"] == second["gate"]
    for key, value in first["state"].items():
        assert torch.equal(value, second["state"][key]), key
    assert first["state"]["penalty.multiplier_K"].item() != 2.0


@pytest.mark.parametrize("role", ["reward_model", "critic"])
def test_a_number_that_is_not_finite_on_one_process_stops_both(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path, on_two_processes: Make, role: str
) -> None:
    def fit(rank: int) -> None:
        module = policy_module()
        module.configure_model()
        scores = module.roles.score if role == "reward_model" else module.roles.values

        def spoilt(rollout: Any) -> Any:
            found = scores(rollout)
            if rank == 0:
                return found
            if role == "critic":
                return found * torch.nan
            return Scores(found.reward_B * torch.nan, found.cost_logits_BK)

        setattr(module.roles, "score" if role == "reward_model" else "values", spoilt)
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
        try:
            tiny.fit(module, prompt_data(), tmp_path, 1, devices=2, strategy=strategy, limit_val_batches=0)
        except UserError as error:
            (tmp_path / f"{rank}.txt").write_text(str(error), encoding="utf-8")

    assert on_two_processes(fit) == [0, 0]
    messages = [(tmp_path / f"{rank}.txt").read_text(encoding="utf-8") for rank in range(2)]
    assert all(" is NaN at step 0" in message for message in messages)
