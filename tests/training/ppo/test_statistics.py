"""Constraints of several kinds in training: two cost models, memories, checkpoints, what is refused at the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from csrlhf.constraints import Chance, Constraint, Constraints, CVaR, Mean, Pessimistic
from csrlhf.errors import UserError
from csrlhf.penalties import Lagrangian
from csrlhf.training.ppo.policy import PolicyModule
from csrlhf.training.ppo.selection import check_reachable
from csrlhf.types import PromptRow

Make = Callable[..., Any]
TWO = {"harm": lambda: CVaR(0.4, alpha=0.5, ema=0.8), "privacy": lambda: Pessimistic(0.2, window=12)}


@pytest.fixture
def two_models(policy_module: Make, folders: Any) -> Callable[..., PolicyModule]:
    """A module with a cost model for each of two constraints, and a statistic and a memory for each."""

    def make(**makers: Callable[[], Constraint]) -> PolicyModule:
        return policy_module(
            inputs=folders.inputs(cost={"harm": folders.cost, "privacy": folders.cost_two}),
            constraints={name: maker() for name, maker in (TWO | makers).items()},
            penalty=Lagrangian({"harm": 2.0, "privacy": 1.0}),
        )

    return make


def test_each_constraint_has_its_model_its_statistic_and_its_memory(
    two_models: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module, batches = two_models(), []
    module.configure_model()
    score = module.roles.score
    module.roles.score = lambda rollout: batches.append(score(rollout)) or batches[-1]
    metrics = tiny.fit(module, prompt_data(), tmp_path, 2, limit_val_batches=0).logged_metrics
    harm_N = [batch.cost_logits_BK[:, 0] for batch in batches]
    privacy_N = torch.cat([batch.cost_logits_BK[:, 1] for batch in batches])[-12:]  # two batches of eight
    tails = [CVaR(0.4, alpha=0.5)(costs).value for costs in harm_N]
    assert metrics["constraint/harm/cost"].item() == pytest.approx(float(0.8 * tails[0] + tails[1]) / 1.8)
    assert metrics["constraint/privacy/cost"].item() == pytest.approx(Pessimistic(0.2)(privacy_N).value.item())
    for name, start in (("harm", 2.0), ("privacy", 1.0)):
        assert metrics[f"penalty/{name}/multiplier"].item() != start
    assert module.roles.critic.num_outputs == 3


def test_two_processes_keep_the_costs_of_both_in_the_global_order(
    two_models: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path, on_two_processes: Make
) -> None:
    alone = two_models()
    metrics = tiny.fit(alone, prompt_data(), tmp_path / "one", 1, limit_val_batches=0).logged_metrics

    def fit(rank: int) -> None:
        module = two_models()
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
        options = {"devices": 2, "strategy": strategy, "limit_val_batches": 0}
        trainer = tiny.fit(module, prompt_data(), tmp_path / "two", 1, **options)
        found = {key: value for key, value in trainer.logged_metrics.items() if key.startswith("constraint/")}
        torch.save({"state": module.constraints.state_dict(), "metrics": found}, tmp_path / f"{rank}.pt")

    assert on_two_processes(fit) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for key, value in alone.constraints.state_dict().items():
        assert torch.equal(first["state"][key], second["state"][key]), key
        torch.testing.assert_close(first["state"][key], value)
    for key, value in first["metrics"].items():
        torch.testing.assert_close(value, metrics[key], check_dtype=False)
    window_N = alone.constraints.by_name["privacy"].memory.costs[:8]  # type: ignore[union-attr]  # a window
    assert window_N.unique().numel() == 8  # else the order would say nothing


def test_an_evaluation_is_of_its_answers_alone(
    two_models: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    """Training's memory is full of other costs, and stays as it is."""
    module = two_models(harm=lambda: Chance(0.5, window=1000))
    module.configure_model()
    module.constraints(torch.full((900, 2), 9.0), remember=True)
    seen = tiny.trainer(tmp_path).validate(module, prompt_data(), verbose=False)[0]
    assert seen["validation/harm/cost"] < 0.99
    assert int(module.constraints.by_name["harm"].memory.num_kept) == 900  # type: ignore[union-attr]  # a window


def test_memories_are_resumed_bit_for_bit(
    two_models: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    whole, first, second = two_models(), two_models(), two_models()
    uninterrupted = tiny.fit(whole, prompt_data(), tmp_path / "whole", 3, limit_val_batches=0)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    options: dict[str, Any] = {"enable_checkpointing": True, "callbacks": [keep], "limit_val_batches": 0}
    tiny.fit(first, prompt_data(), tmp_path / "parts", 2, **options)
    checkpoint = tmp_path / "kept" / "epoch=1.ckpt"
    stored = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert stored["constraints.by_name.privacy.memory.num_kept"].item() == 12
    assert stored["constraints.by_name.harm.memory.num_batches"].item() == 2
    resumed = tiny.fit(second, prompt_data(), tmp_path / "parts", 3, checkpoint=checkpoint, limit_val_batches=0)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    for name in TWO:
        key = f"constraint/{name}/cost"
        assert torch.equal(uninterrupted.logged_metrics[key], resumed.logged_metrics[key])


def test_a_memory_that_is_larger_than_one_batch_changes_what_the_penalty_sees(
    two_models: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    costs = []
    for window in (0, 16):
        module = two_models(privacy=lambda window=window: Mean(0.2, scale="logit", window=window))
        metrics = tiny.fit(module, prompt_data(), tmp_path, 2, limit_val_batches=0).logged_metrics
        costs.append(metrics["constraint/privacy/cost"].item())
    assert costs[0] != costs[1]


def test_a_tail_of_less_than_one_answer_is_refused(
    two_models: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    """Before the run where the validation prompts are too few, at the first batch where that is too small."""
    module = two_models(privacy=lambda: CVaR(0.2, alpha=0.95))
    with pytest.raises(UserError, match=r"ppo\.num_validation=12: 12 .* constraints\.privacy, which needs 20 or more"):
        tiny.fit(module, prompt_data(), tmp_path, 2)
    with pytest.raises(UserError, match=r"constraints\.privacy\.alpha=0\.95: the worst 0\.05 of 8 responses"):
        tiny.fit(module, prompt_data(), tmp_path, 2, limit_val_batches=0)


def test_what_an_evaluation_could_never_show_is_refused() -> None:
    for constraint in (Mean(0.2), Pessimistic(0.2)):
        with pytest.raises(UserError, match=r"num_validation=1: .* constraints\.harm, which needs 2 or more"):
            check_reachable(Constraints({"harm": constraint}), 0.95, [PromptRow("a")] * 1)
        check_reachable(Constraints({"harm": constraint}), 0.95, [PromptRow("a")] * 2)
    with pytest.raises(UserError, match=r"constraints\.harm\.threshold=0\.05 is out of reach.*num_validation=59"):
        check_reachable(Constraints({"harm": Pessimistic(0.05, scale="indicator")}), 0.95, [PromptRow("a")] * 20)


def test_a_mapping_that_leaves_a_constraint_out_is_refused(policy_module: Make, folders: Any) -> None:
    module = policy_module(
        inputs=folders.inputs(cost={"harm": folders.cost}), constraints={name: make() for name, make in TWO.items()}
    )
    with pytest.raises(UserError, match=r"names harm, the constraints are harm, privacy"):
        module.configure_model()
