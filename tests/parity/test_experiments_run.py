"""What the experiments name is there and is read: their objects build, and the window is that of the public code."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from csrlhf.config import search_path
from csrlhf.penalties import Lagrangian

CONF = Path(__file__).resolve().parents[2] / "conf"
PAPERS = ["safe_rlhf", "cs_rlhf", "hc_rlhf"]


@pytest.mark.parametrize("model", ["toy", "pretrained"])
@pytest.mark.parametrize("paper", PAPERS)
def test_the_policy_module_of_an_experiment_builds(paper: str, model: str) -> None:
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        known = compose("train", overrides=["stage=ppo", f"model={model}"])
        cfg = compose("train", overrides=["stage=ppo", f"model={model}", f"experiment={paper}"])
    OmegaConf.set_struct(cfg, False)
    for name in cfg.inputs:
        cfg.inputs[name] = f"artifacts/{name}"
    assert set(cfg.ppo) == set(known.ppo), "a key of ppo that nothing reads"
    module = instantiate(cfg.module)
    assert (module.ppo.epochs, module.ppo.minibatch_size) == (1, cfg.ppo.batch_size)
    assert module.ppo.ptx_coef == cfg.ppo.ptx_coef > 0


def test_hc_rlhf_has_no_critic_and_a_bound_on_the_cost() -> None:
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["stage=ppo", "experiment=hc_rlhf"])
    assert instantiate(cfg.advantage).needs_critic is False
    assert cfg.ppo.samples_per_prompt == 4
    constraint = instantiate(cfg.constraints.harm)
    assert constraint.delta == 0.1
    assert constraint.kappa(256) > 0


def test_the_multiplier_follows_the_mean_of_the_last_128_episodes(published: ModuleType) -> None:
    """The constraint as the experiment builds it, over batches of 48: the window opens and closes within batches."""
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["stage=ppo", "experiment=safe_rlhf"])
    constraint, penalty = instantiate(cfg.constraints.harm).double(), instantiate(cfg.penalty)
    assert isinstance(penalty, Lagrangian)
    penalty.setup(["harm"])
    penalty.double()
    level = torch.linspace(4.0, -4.0, 40, dtype=torch.float64).unsqueeze(1)
    costs = level + torch.randn(40, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for batch in costs:
        statistic = constraint(batch, remember=True)
        penalty.update((statistic.value - statistic.threshold).reshape(1))
        found.append(float(penalty.multiplier_K))
        torch.testing.assert_close(statistic.sample_cost_B, batch)  # advantages see this batch alone
    expected = published.dual_steps(costs.tolist(), 1.0, 0.1, 5.0, 0.0, window=128)
    assert found == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(published.dual_steps(costs.tolist(), 1.0, 0.1, 5.0, 0.0, window=48), rel=1e-2)
