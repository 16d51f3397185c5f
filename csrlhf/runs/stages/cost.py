"""``stage=cost``: the cost model, an absolute classifier whose logit above 0 means unsafe."""

from __future__ import annotations

from csrlhf.runs import memory
from csrlhf.runs.stages.base import SFT, Stage

STAGE = Stage(
    reads={"labelled": ("train", "validation", "test")},
    inputs=(SFT,),
    consumes=("data", "model.score", "cost", "seed", "trainer.precision"),
    monitor="validation/loss",  # steadier than AUROC on few rows
    artifact="cost-model",
    memory=lambda cfg: memory.score_model(cfg, "cost", num_outputs=len(cfg.constraints), rows_per_example=1),
)
