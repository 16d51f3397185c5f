"""``experiment=safe_rlhf | cs_rlhf | hc_rlhf``: they set what they say, build, and combine with other words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import search_path
from csrlhf.penalties import Lagrangian, Rectified

CONF = Path(__file__).resolve().parents[2] / "conf"
PAPERS = ["safe_rlhf", "cs_rlhf", "hc_rlhf"]


def load(*words: str) -> DictConfig:
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["stage=ppo", *words])
    OmegaConf.set_struct(cfg, False)
    cfg.work = "work"
    for name in cfg.inputs:
        cfg.inputs[name] = f"artifacts/{name}"
    return cfg


def test_safe_rlhf_is_what_the_public_launch_script_says() -> None:
    cfg = load("experiment=safe_rlhf")
    penalty = instantiate(cfg.penalty)
    assert isinstance(penalty, Lagrangian)
    assert (penalty.multiplier, penalty.lr, penalty.rule, penalty.max_multiplier) == (1.0, 0.1, "log", 5.0)
    assert (penalty.min_multiplier, penalty.delay) == (1e-30, 0)
    penalty.setup(["harm"])
    penalty.multiplier_K.fill_(3.0)
    assert penalty.weights(torch.tensor([-1.0])).total.item() == 4.0  # (A_r - λ A_c) / (1 + λ)
    expected: dict[str, Any] = {
        "constraints.harm.scale": "logit",
        "constraints.harm.threshold": 0.0,
        "constraints.harm.window": 128,
        "constraints.harm.ema": 0.0,
        "advantage.gamma": 1.0,
        "advantage.lam": 0.95,
        "advantage.normalise": "none",
        "ppo.epochs": 1,
        "ppo.kl_coef": 0.01,
        "ppo.kl_channels": "both",
        "ppo.kl_control": "fixed",
        "ppo.clip": 0.2,
        "ppo.value_clip": 5.0,
        "ppo.reward_clamp": 50.0,
        "ppo.aggregation": "sequence",
        "ppo.ptx_coef": 16.0,
        "ppo.samples_per_prompt": 1,
        "ppo.reward_normalise": "none",
        "ppo.cost_normalise": "none",
        "ppo.entropy_coef": 0.0,
        "ppo.target_kl": None,
        "ppo.critic_warmup": 0,
        "ppo.policy_grad_clip": 2.0,
        "ppo.critic_grad_clip": 1.0,
        "ppo.policy_optimizer.weight_decay": 0.01,
        "ppo.policy_optimizer.beta2": 0.95,
        "ppo.critic_optimizer.weight_decay": 0.0,
        "ppo.critic_optimizer.beta2": 0.95,
        "rollout.temperature": 1.0,
        "rollout.top_k": 0,
        "rollout.top_p": 1.0,
        "reward.regularization": 0.001,
        "reward.margin": 0.0,
        "reward.standardize": False,
        "cost.loss": "pairwise",
        "cost.label_smoothing": 0.0,
        "cost.calibrate": False,
    }
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected
    assert cfg.ppo.minibatch_size == cfg.ppo.batch_size == cfg.ppo.ptx_batch_size


def test_cs_rlhf_has_a_threshold_that_a_probability_can_cross_and_one_kl() -> None:
    cfg = load("experiment=cs_rlhf")
    penalty = instantiate(cfg.penalty)
    assert isinstance(penalty, Rectified)
    assert (penalty.multiplier, penalty.margin_z, penalty.normaliser) == (20.0, 0.0, "fixed")
    constraint = instantiate(cfg.constraints.harm)
    assert (constraint.scale, constraint.threshold) == ("probability", 0.05)
    assert (cfg.ppo.kl_channels, cfg.cost.loss, cfg.reward.standardize) == ("reward", "semantic", True)


@pytest.mark.parametrize("paper", PAPERS)
def test_single_keys_win_over_an_experiment(paper: str) -> None:
    cfg = load(f"experiment={paper}", "penalty.multiplier=0.5", "ppo.kl_coef=0.3", "constraints.harm.threshold=0.2")
    assert (cfg.penalty.multiplier, cfg.ppo.kl_coef, cfg.constraints.harm.threshold) == (0.5, 0.3, 0.2)


@pytest.mark.parametrize("paper", ["safe_rlhf", "cs_rlhf"])
def test_sizes_lengths_and_rates_are_those_of_the_model(paper: str) -> None:
    for model in ("toy", "pretrained"):
        plain, cfg = load(f"model={model}"), load(f"model={model}", f"experiment={paper}")
        for key in (
            "ppo.batch_size",
            "ppo.iterations",
            "ppo.policy_optimizer.lr",
            "ppo.critic_optimizer.lr",
            "rollout.max_new_tokens",
        ):
            assert OmegaConf.select(cfg, key) == OmegaConf.select(plain, key), f"{model}: {key}"
        smaller = load(f"model={model}", f"experiment={paper}", "ppo.batch_size=32")
        assert smaller.ppo.minibatch_size == 32


def test_a_group_of_one_s_own_wins_and_its_leftover_numbers_can_be_taken_out() -> None:
    leftovers = [f"~penalty.{key}" for key in ("margin_z", "ema", "normaliser", "gate")]
    cfg = load("experiment=cs_rlhf", "penalty=linear", *leftovers)
    assert instantiate(cfg.penalty).multiplier == 20.0
