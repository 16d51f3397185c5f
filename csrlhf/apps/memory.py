"""``python -m csrlhf.memory key=value ...``: what each stage will hold in memory per device, before anything is run.

Takes the overrides of train.py. Nothing is trained, and of a model on the Hub only its configuration is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from csrlhf.apps import cli
from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.terminal import plain_console
from csrlhf.tracking.quiet import quiet

SFT = "the-sft-folder"
"""Stands for the SFT folder, which need not exist yet: its models have the policy's configuration."""

PRECISIONS = {"32-true": (4, 4), "bf16-mixed": (4, 2), "bf16-true": (2, 2), "64-true": (8, 8)}
"""Bytes per weight, and per number that is computed."""

GB = 1e9


@dataclass(frozen=True)
class Row:
    """One line: bytes of a model, or of work that comes and goes (``passing``)."""

    stage: str
    what: str
    weights: int = 0
    gradients: int = 0
    states: int = 0
    passing: int = 0


def rows_of(words: Sequence[str]) -> list[Row]:
    """The lines of all stages.

    Args:
        words: overrides of the configuration.

    Raises:
        UserError: a value is wrong, or a model's configuration is not there.
    """
    if any(word.startswith("stage=") for word in words):
        raise UserError("stage=...: leave it out, all stages are shown")
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        cfgs = {stage: compose("train", [*words, f"stage={stage}", f"inputs.sft={SFT}"]) for stage in STAGES}
    return [row for stage, count in STAGES.items() for row in count(cfgs[stage])]


def _sft(cfg: DictConfig) -> list[Row]:
    from csrlhf.models import footprint

    weight, compute = _precision(cfg)
    policy = footprint.empty_policy(_policy_config(cfg))
    instantiate(cfg.model.policy.tuning).apply(policy)
    kind = instantiate(cfg.sft.optimizer.kind)
    size = _share(cfg, cfg.sft.batch_size, cfg.sft.accumulate)
    tokens = size * cfg.sft.max_tokens
    passing = footprint.activation_bytes(policy.config, tokens, weight, compute, num_logits=tokens)
    passing += footprint.cast_bytes(policy, weight, compute)
    return [
        _held("sft", "policy", footprint.held_bytes(policy, weight, kind.state_bytes)),
        Row("sft", f"a step: {size} x {cfg.sft.max_tokens} tokens", passing=passing),
    ]


def _score(cfg: DictConfig) -> list[Row]:
    from csrlhf.models import footprint

    weight, compute = _precision(cfg)
    stage = cfg.stage.name
    trunk = footprint.empty_trunk(_score_config(cfg))
    instantiate(cfg.model.score.tuning).apply(trunk)
    kind = instantiate(cfg[stage].optimizer.kind)
    rows = _share(cfg, cfg[stage].batch_size, cfg[stage].accumulate) * (2 if stage == "reward" else 1)
    passing = footprint.activation_bytes(trunk.config, rows * cfg.model.score.max_tokens, weight, compute)
    passing += footprint.cast_bytes(trunk, weight, compute)
    held = footprint.held_bytes(trunk, weight, kind.state_bytes, 1 if stage == "reward" else len(cfg.constraints))
    average = [Row(stage, "moving average", weights=held.weights)] if cfg[stage].averaging is not None else []
    return [
        _held(stage, f"{stage} model", held),
        *average,
        Row(stage, f"a step: {rows} x {cfg.model.score.max_tokens} tokens", passing=passing),
    ]


def _ppo(cfg: DictConfig) -> list[Row]:
    from csrlhf.models import footprint
    from csrlhf.training.ppo.roles import LOGITS_PER_PASS

    weight, compute = _precision(cfg)
    policy_config, score_config = _policy_config(cfg), _score_config(cfg)
    policy, frozen = footprint.empty_policy(policy_config), footprint.empty_policy(policy_config)
    critic = footprint.empty_trunk(score_config if cfg.model.score.backbone == SFT else policy_config)
    scorer = footprint.empty_trunk(score_config)
    instantiate(cfg.model.policy.tuning).apply(policy)
    instantiate(cfg.model.critic.tuning).apply(critic)
    policy_kind, critic_kind = (instantiate(cfg.ppo[f"{role}_optimizer"].kind) for role in ("policy", "critic"))
    num_costs = len(cfg.constraints)
    answer = cfg.ppo.max_prompt_tokens + cfg.rollout.max_new_tokens
    copy = sum(p.numel() for p in policy.parameters()) * compute if compute < weight else 0
    vocabulary = policy_config.get_text_config().vocab_size
    batch_size = _share(cfg, cfg.ppo.batch_size)
    reference = min(batch_size * cfg.rollout.max_new_tokens * vocabulary, LOGITS_PER_PASS) * (compute + 8)
    looked_at = cfg.evaluate.batch_size * cfg.rollout.max_new_tokens * vocabulary * (compute + 16)
    cache = footprint.cache_bytes(policy_config, batch_size * answer, compute)
    size = _share(cfg, cfg.ppo.minibatch_size, cfg.ppo.accumulate)
    logits = size * cfg.rollout.max_new_tokens
    update = footprint.activation_bytes(policy_config, size * answer, weight, compute, num_logits=logits)
    update += footprint.cast_bytes(policy, weight, compute)
    held = footprint.held_bytes(critic, weight, critic_kind.state_bytes, 1 + num_costs)
    trained_critic = [_held("ppo", f"critic of reward and {num_costs} cost{'s' if num_costs > 1 else ''}", held)]
    return [
        _held("ppo", "policy", footprint.held_bytes(policy, weight, policy_kind.state_bytes)),
        _held("ppo", "reference", footprint.held_bytes(frozen, weight, None)),
        *(trained_critic if getattr(get_object(cfg.advantage._target_), "needs_critic", True) else []),
        _held("ppo", "reward model", footprint.held_bytes(scorer, weight, None, 1)),
        _held("ppo", "cost model", footprint.held_bytes(scorer, weight, None, num_costs)),
        Row("ppo", f"rollout: {batch_size} x {answer} tokens", passing=max(copy + cache, reference)),
        Row("ppo", f"an evaluation: {cfg.evaluate.batch_size} x {answer} tokens", passing=looked_at),
        Row("ppo", f"a step: {size} x {answer} tokens", passing=update),
    ]


STAGES = {"sft": _sft, "reward": _score, "cost": _score, "ppo": _ppo}


def _held(stage: str, what: str, held: Any) -> Row:
    return Row(stage, what, held.weights, held.gradients, held.states)


def _share(cfg: DictConfig, size: int, accumulate: int = 1) -> int:
    """Rows that go through one device at once; devices that Lightning counts itself (``auto``) are taken for one."""
    devices = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) and cfg.trainer.devices > 0 else 1
    return -(-size // (devices * accumulate))


def _precision(cfg: DictConfig) -> tuple[int, int]:
    if cfg.trainer.precision not in PRECISIONS:
        raise UserError(f"trainer.precision={cfg.trainer.precision}: memory is known for {', '.join(PRECISIONS)}")
    return PRECISIONS[cfg.trainer.precision]


def _policy_config(cfg: DictConfig) -> Any:
    from csrlhf.models.loading import load_config, new_config

    policy = cfg.model.policy
    if policy.path is not None:
        return load_config(policy.path)
    return new_config(policy.architecture, instantiate(policy.tokenizer))


def _score_config(cfg: DictConfig) -> Any:
    from csrlhf.models.loading import load_config

    backbone = cfg.model.score.backbone
    return _policy_config(cfg) if backbone == SFT else load_config(backbone)


def peak(rows: Sequence[Row], stage: str) -> int:
    """A stage's sum: all models, and the larger of what comes and goes."""
    mine = [row for row in rows if row.stage == stage]
    return sum(row.weights + row.gradients + row.states for row in mine) + max(row.passing for row in mine)


def main(words: Sequence[str]) -> int:
    """Print the table; report mistakes as train.py does."""
    quiet()
    try:
        rows = rows_of(words)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return cli.report(error)
    table = Table(title="Memory per device in GB (10^9 bytes)", box=None, title_justify="left")
    for name in ("stage", "what", "weights", "gradients", "optimiser", "passing"):
        table.add_column(name, justify="left" if name in ("stage", "what") else "right")
    for stage in STAGES:
        for row in (row for row in rows if row.stage == stage):
            numbers = (row.weights, row.gradients, row.states, row.passing)
            table.add_row(stage, row.what, *(f"{number / GB:.3f}" if number else "" for number in numbers))
        most = Text("most at once", style="bold"), "", "", "", Text(f"{peak(rows, stage) / GB:.3f}", style="bold")
        table.add_row(stage, *most, end_section=True)
    plain_console().print(table)
    print("Without the working space of kernels and of the framework: plan with 10 to 20 % more.")
    return 0
