"""Every option of ``penalty=`` in a training step: what it logs, and that its state is in the module's checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from csrlhf.constraints import Chance
from csrlhf.errors import UserError
from csrlhf.penalties import Lagrangian, Rectified, RePO, Weights
from csrlhf.training.ppo.config import PPOConfig

CONF = Path(__file__).resolve().parents[3] / "conf" / "penalty"
NEW = ("pid", "augmented_lagrangian", "softplus", "huber", "squared", "p3o", "log_barrier", "switching", "adaptive",
       "repo", "sample_hinge")  # fmt: skip
"""Those that the other tests of this folder do not train."""


@pytest.mark.parametrize("option", NEW)
def test_a_step_with_each_penalty(
    policy_module: Callable[..., Any], prompt_data: Callable[..., Any], tiny: ModuleType, tmp_path: Path, option: str
) -> None:
    penalty = instantiate(OmegaConf.load(CONF / f"{option}.yaml"))
    count = 2 if option == "repo" else 1  # by one response alone it could not judge a prompt
    ppo = PPOConfig(epochs=2, minibatch_size=4, critic_warmup=0, samples_per_prompt=count)
    module = policy_module(penalty=penalty, ppo=ppo)
    trainer = tiny.fit(module, prompt_data(samples_per_prompt=count), tmp_path, 1, limit_val_batches=0)
    logged = trainer.callback_metrics
    wanted = {"penalty/multiplier", "penalty/weight", "penalty/gate", "constraint/harm/cumulative_violation"}
    assert wanted <= logged.keys()
    assert all(bool(torch.isfinite(logged[key])) for key in wanted | {"policy/loss"})
    assert (logged["penalty/weight"] > 0) == (logged["penalty/gate"] > 0)
    if option == "sample_hinge":
        assert logged["penalty/weight"] == 0
    state = {key.removeprefix("penalty.") for key in module.state_dict() if key.startswith("penalty.")}
    assert state == set(penalty.state_dict())


def test_a_prompt_is_not_judged_by_a_single_response(policy_module: Callable[..., Any]) -> None:
    """On the toy world such a run raised λ to 38 and ended with unsafe answers alone."""
    with pytest.raises(UserError, match=r"^penalty=repo judges .* set ppo\.samples_per_prompt=4$"):
        policy_module(penalty=RePO(1.0))


def test_a_policy_in_bfloat16_leaves_the_multiplier_all_digits(
    policy_module: Callable[..., Any], prompt_data: Callable[..., Any], tiny: ModuleType, tmp_path: Path
) -> None:
    """Lightning converts the whole module; a step of a thousandth of λ would be none."""
    module = policy_module(penalty=Lagrangian(1.0, lr=1e-3), constraints={"harm": Chance(0.3, window=12)})
    logged = tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0, precision="bf16-true").callback_metrics
    assert next(module.roles.policy.parameters()).dtype == torch.bfloat16
    violation = logged["constraint/harm/violation"].item()
    assert abs(violation) > 0.01
    assert module.penalty.multiplier_K.item() == pytest.approx(math.exp(1e-3 * violation), rel=1e-6)
    assert logged["constraint/harm/cumulative_violation"].item() == pytest.approx(max(violation, 0.0))


def test_a_strategy_is_handed_the_violation_and_its_standard_error(
    policy_module: Callable[..., Any], prompt_data: Callable[..., Any], tiny: ModuleType, tmp_path: Path
) -> None:
    """Without the error a margin in standard errors would be none, in silence."""
    seen = []

    class Asked(Rectified):
        def weights(self, violation_K: torch.Tensor, stderr_K: torch.Tensor | None = None) -> Weights:
            assert stderr_K is not None
            seen.append((violation_K.item(), stderr_K.item()))
            return super().weights(violation_K, stderr_K)

    module = policy_module(penalty=Asked(4.0, margin_z=2.0, gate="batch"), constraints={"harm": Chance(0.3, window=12)})
    logged = tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0).callback_metrics
    expected = [logged[f"constraint/harm/{key}"].item() for key in ("violation", "stderr")]
    assert expected[1] > 0
    assert seen == [pytest.approx(expected)]
