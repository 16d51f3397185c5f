"""``stage=sft``: supervised fine-tuning, the start of the policy and its reference."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from csrlhf.runs import memory
from csrlhf.runs.stages.base import Stage


def count(cfg: DictConfig) -> list[memory.Row]:
    """The policy with its optimiser, and the widest batch."""
    from csrlhf.models import footprint
    from csrlhf.models.tuning import tune

    weight, compute = memory.precision(cfg)
    policy = footprint.empty_policy(memory.policy_config(cfg))
    tune(policy, instantiate(cfg.model.policy.tuning))
    kind = instantiate(cfg.sft.optimizer.kind)
    size = memory.share(cfg, cfg.sft.batch_size, cfg.sft.accumulate)
    tokens = size * cfg.sft.max_tokens
    recomputed = cfg.model.policy.tuning.gradient_checkpointing
    frozen = footprint.frozen_depth(policy)
    passing = footprint.activation_bytes(policy.config, tokens, weight, compute, tokens, recomputed, frozen)
    passing += footprint.cast_bytes(policy, weight, compute)
    return [
        memory.held("sft", "policy", footprint.held_bytes(policy, weight, kind.state_bytes)),
        memory.Row("sft", f"a step: {size} x {cfg.sft.max_tokens} tokens", passing=passing),
    ]


STAGE = Stage(
    reads={"demonstrations": ("train", "validation")},
    consumes=("data", "model.policy", "sft", "seed", "trainer.precision"),
    steps=("fit", "validate"),
    monitor="validation/loss",
    artifact="policy",
    memory=count,
)
