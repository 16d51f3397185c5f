"""What models and steps hold in memory per device, counted from configurations: what stages' counts share.

Of a model on the Hub only its configuration is read; nothing is built with weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from csrlhf.errors import UserError
from csrlhf.scorers import specs

SFT = "the-sft-folder"
"""Stands for the SFT folder, which need not exist yet: its models have the policy's configuration."""

PRECISIONS = {"32-true": (4, 4), "bf16-mixed": (4, 2), "bf16-true": (2, 2), "64-true": (8, 8)}
"""Bytes per weight, and per number that is computed."""


@dataclass(frozen=True)
class Row:
    """One line: bytes of a model, or of work that comes and goes (``passing``)."""

    stage: str
    what: str
    weights: int = 0
    gradients: int = 0
    states: int = 0
    passing: int = 0


def held(stage: str, what: str, bytes_held: Any) -> Row:
    """The line of a model (``footprint.held_bytes``)."""
    return Row(stage, what, bytes_held.weights, bytes_held.gradients, bytes_held.states)


def share(cfg: DictConfig, size: int, accumulate: int = 1) -> int:
    """Rows that go through one device at once; devices that Lightning counts itself (``auto``) are taken for one."""
    devices = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) and cfg.trainer.devices > 0 else 1
    return -(-size // (devices * accumulate))


def precision(cfg: DictConfig) -> tuple[int, int]:
    """Bytes per weight, and per number that is computed."""
    if cfg.trainer.precision not in PRECISIONS:
        raise UserError(f"trainer.precision={cfg.trainer.precision}: memory is known for {', '.join(PRECISIONS)}")
    return PRECISIONS[cfg.trainer.precision]


def policy_config(cfg: DictConfig) -> Any:
    """The policy's configuration, of a model that is there or of a new one."""
    from csrlhf.models.loading import load_config, new_config

    policy = cfg.model.policy
    if policy.path is not None:
        return load_config(policy.path)
    return new_config(policy.architecture, instantiate(policy.tokenizer))


def score_config(cfg: DictConfig) -> Any:
    """The configuration of the trunk of reward and cost model."""
    from csrlhf.models.loading import load_config

    backbone = cfg.model.score.backbone
    return policy_config(cfg) if backbone == SFT else load_config(backbone)


def scorer_rows(cfg: DictConfig, role: str, num_outputs: int) -> list[Row]:
    """What PPO's reward or cost models hold: those that are named, else one like those that are trained here.

    Functions and endpoints hold nothing that could be counted; a guard's row has its language head.
    """
    from csrlhf.models import footprint
    from csrlhf.models.loading import load_config

    weight, _ = precision(cfg)
    given = cfg.inputs[role]
    if given is None:
        trunk = footprint.empty_trunk(score_config(cfg))
        return [held("ppo", f"{role} model", footprint.held_bytes(trunk, weight, None, num_outputs))]
    rows = []
    for key, source in specs.sources(specs.as_spec(given), role):
        if key.rpartition(".")[2] not in ("url", "function"):
            config: Any = load_config(source)
            guard = any(str(name).endswith("ForCausalLM") for name in config.architectures or ())
            model = footprint.empty_policy(config) if guard else footprint.empty_trunk(config)
            outputs = 0 if guard else num_outputs
            rows.append(held("ppo", f"{role} model {source}", footprint.held_bytes(model, weight, None, outputs)))
    return rows


def score_model(cfg: DictConfig, stage: str, num_outputs: int, rows_per_example: int) -> list[Row]:
    """What a reward or cost model's training holds: the model with its optimiser, and the widest batch."""
    from csrlhf.models import footprint
    from csrlhf.models.tuning import tune

    weight, compute = precision(cfg)
    trunk = footprint.empty_trunk(score_config(cfg))
    tune(trunk, instantiate(cfg.model.score.tuning))
    kind = instantiate(cfg[stage].optimizer.kind)
    rows = share(cfg, cfg[stage].batch_size, cfg[stage].accumulate) * rows_per_example
    recomputed = cfg.model.score.tuning.gradient_checkpointing
    tokens = rows * cfg.model.score.max_tokens
    kept = {"recomputed": recomputed, "frozen": footprint.frozen_depth(trunk)}
    passing = footprint.activation_bytes(trunk.config, tokens, weight, compute, **kept)
    passing += footprint.cast_bytes(trunk, weight, compute)
    model = held(stage, f"{stage} model", footprint.held_bytes(trunk, weight, kind.state_bytes, num_outputs))
    average = [Row(stage, "moving average", weights=model.weights)] if cfg[stage].averaging is not None else []
    return [model, *average, Row(stage, f"a step: {rows} x {cfg.model.score.max_tokens} tokens", passing=passing)]
