"""``stage=reward``: the reward model, Bradley-Terry on preference pairs."""

from __future__ import annotations

from csrlhf.runs import memory
from csrlhf.runs.stages.base import SFT, Stage

STAGE = Stage(
    reads={"preferences": ("train", "validation", "test")},
    inputs=(SFT,),
    consumes=("data", "model.score", "reward", "seed", "trainer.precision"),
    monitor="validation/pair_accuracy",
    mode="max",
    artifact="reward-model",
    memory=lambda cfg: memory.score_model(cfg, "reward", num_outputs=1, rows_per_example=2),
)
