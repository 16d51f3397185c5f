"""``stage=ppo``: constrained PPO, the policy that maximises reward under the constraints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from csrlhf.config import plugins, search_path
from csrlhf.errors import UserError
from csrlhf.runs import memory
from csrlhf.runs.stages.base import COST, REWARD, SFT, Stage


def run_name(cfg: DictConfig, choices: Mapping[str, str], inputs: Mapping[str, str], digest: str) -> str:
    """The penalty's choice or class, and eight digits of the fingerprint."""
    kind = plugins.run_kind(choices.get("penalty"), search_path.is_ours("penalty", choices), cfg.penalty._target_)
    return f"{kind}-{digest[:8]}"


def demonstrations(config: Mapping[str, Any]) -> dict[Any, tuple[Any, ...]]:
    """With a PTX loss it trains on demonstrations, too."""
    return {"demonstrations": ("train",)} if (config.get("ppo") or {}).get("ptx_coef", 0) > 0 else {}


def rehearse(modules: Mapping[str, Any], datamodules: Mapping[str, Any]) -> None:
    """Are its constraints outputs that the cost model will have?"""
    module = modules["ppo"]
    # A cost model given as an input brings outputs of its own; they are compared when it is loaded.
    if "cost" not in datamodules or module.inputs["cost"] is not None:
        return
    outputs = datamodules["cost"].source.constraints
    if missing := [name for name in module.constraints.names if name not in outputs]:
        raise UserError(
            f"constraints.{missing[0]}: the cost model will be trained on data.constraints={list(outputs)}; add "
            f"{', '.join(missing)} there, or choose another constraint="
        )


def count(cfg: DictConfig) -> list[memory.Row]:
    """All roles, and the largest of rollout, evaluation and update."""
    from csrlhf.generation.recompute import LOGITS_PER_PASS
    from csrlhf.models import footprint
    from csrlhf.models.settings import TuningMethod
    from csrlhf.models.tuning import tune

    weight, compute = memory.precision(cfg)
    policy_config, score_config = memory.policy_config(cfg), memory.score_config(cfg)
    policy, frozen = footprint.empty_policy(policy_config), footprint.empty_policy(policy_config)
    critic = footprint.empty_trunk(score_config if cfg.model.score.backbone == memory.SFT else policy_config)
    tune(policy, instantiate(cfg.model.policy.tuning))
    tune(critic, instantiate(cfg.model.critic.tuning))
    policy_kind, critic_kind = (instantiate(cfg.ppo[f"{role}_optimizer"].kind) for role in ("policy", "critic"))
    own_reference = cfg.model.policy.tuning.method == TuningMethod.lora  # the policy without its adapters
    num_costs = len(cfg.constraints)
    answer = cfg.ppo.max_prompt_tokens + cfg.rollout.max_new_tokens
    copy = sum(p.numel() for p in policy.parameters()) * compute if compute < weight else 0
    vocabulary = policy_config.get_text_config().vocab_size
    batch_size = memory.share(cfg, cfg.ppo.batch_size)
    reference = min(batch_size * cfg.rollout.max_new_tokens * vocabulary, LOGITS_PER_PASS) * (compute + 8)
    looked_at = cfg.evaluate.batch_size * cfg.rollout.max_new_tokens * vocabulary * (compute + 16)
    cache = footprint.cache_bytes(policy_config, batch_size * answer, compute)
    size = memory.share(cfg, cfg.ppo.minibatch_size, cfg.ppo.accumulate)
    logits = size * cfg.rollout.max_new_tokens
    recomputed = cfg.model.policy.tuning.gradient_checkpointing
    below = footprint.frozen_depth(policy)
    states = batch_size * answer * policy_config.get_text_config().hidden_size * weight if below else 0
    update = footprint.activation_bytes(policy_config, size * answer, weight, compute, logits, recomputed, below)
    update += footprint.cast_bytes(policy, weight, compute) + states
    held = footprint.held_bytes(critic, weight, critic_kind.state_bytes, 1 + num_costs)
    trained_critic = [memory.held("ppo", f"critic of reward and {num_costs} cost{'s' if num_costs > 1 else ''}", held)]
    return [
        memory.held("ppo", "policy", footprint.held_bytes(policy, weight, policy_kind.state_bytes)),
        *([] if own_reference else [memory.held("ppo", "reference", footprint.held_bytes(frozen, weight, None))]),
        *(trained_critic if getattr(get_object(cfg.advantage._target_), "needs_critic", True) else []),
        *memory.scorer_rows(cfg, "reward", 1),
        *memory.scorer_rows(cfg, "cost", num_costs),
        memory.Row("ppo", f"rollout: {batch_size} x {answer} tokens", passing=max(copy + cache, reference) + states),
        memory.Row("ppo", f"an evaluation: {cfg.evaluate.batch_size} x {answer} tokens", passing=looked_at),
        memory.Row("ppo", f"a step: {size} x {answer} tokens", passing=update),
    ]


STAGE = Stage(
    reads={"prompts": ("train", "validation")},
    may_read=demonstrations,
    inputs=(SFT, REWARD, COST),
    paths={"refusals": ()},
    consumes=("data", "penalty", "constraints", "advantage", "rollout", "ppo", "model.policy.tuning",
              "model.policy.save", "model.critic", "model.chat", "refusals", "seed", "trainer.precision"),
    steps=("fit",),
    several_losses=True,  # policy and critic
    step_metric="iteration",
    run_name=run_name,
    swept=True,
    artifact="policy",
    memory=count,
    rehearse=rehearse,
)  # fmt: skip
