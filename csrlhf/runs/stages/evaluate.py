"""``stage=evaluate``: policies on the same prompts, or a cost model on labelled rows, as the group evaluate says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from csrlhf.runs.stages.base import COST, PPO, REWARD, SFT, Stage, run_of


def replaced(cfg: DictConfig) -> set[str]:
    """With other policies the trained one is not read, and kept answers need no model."""
    if "policies" not in cfg.evaluate:  # a cost model is evaluated: it reads kept answers itself
        return set()
    if cfg.evaluate.outputs:
        return {one.name for one in STAGE.inputs}
    return {PPO.name} if cfg.evaluate.policies else set()


def run_name(cfg: DictConfig, choices: Mapping[str, str], inputs: Mapping[str, str], digest: str) -> str:
    """The run that is evaluated; else what is: the policies, kept answers, or a cost model."""
    if "ppo" in inputs:
        return run_of(inputs)
    kind = choices.get("evaluate", "evaluation")
    if kind != "cost_model" and OmegaConf.select(cfg, "evaluate.outputs"):
        kind = "answers"
    elif policies := OmegaConf.select(cfg, "evaluate.policies"):
        kind = "_".join(re.sub(r"[^\w+-]", "", str(name)) for name in policies)[:60] or "policies"
    return f"{kind}-{digest[:8]}"


STAGE = Stage(
    reads={"prompts": ("test",)},
    inputs=(SFT, REWARD, COST, PPO),
    replaced=replaced,
    paths={
        "evaluate.policies": PPO.sources,
        "evaluate.prompts": (),
        "evaluate.judge": COST.sources,
        "evaluate.labels": (),
        "evaluate.outputs": (),
        "refusals": (),
    },
    scorers=("evaluate.judge",),
    consumes=("data", "constraints", "rollout", "evaluate", "ppo.max_prompt_tokens", "model.chat", "refusals", "seed"),
    steps=("test",),
    run_name=run_name,
    artifact="evaluation",
)
