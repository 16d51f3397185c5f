"""The working folder of a stage: what a stopped run leaves there, and whether another one goes on from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from csrlhf.runs import artifacts
from csrlhf.runs.plan import Plan
from csrlhf.runs.processes import is_first_process

LAST_CHECKPOINT = "checkpoints/last.ckpt"


def last_checkpoint(plan: Plan) -> Path:
    """Where the last checkpoint of a run is, if it has come to one."""
    return plan.work / LAST_CHECKPOINT


def leaves_something(plan: Plan) -> bool:
    """True where a later run can go on: from a checkpoint, or from answers and scores that are kept."""
    return last_checkpoint(plan).exists() or (plan.work / artifacts.KEPT).exists()


def prepare_work(plan: Plan, resume: bool) -> str | None:
    """Returns the checkpoint to go on from; the folder starts empty where there is nothing to go on from."""
    checkpoint = last_checkpoint(plan)
    if resume and checkpoint.exists():
        if is_first_process():
            print(f"{plan.stage}: resuming from {checkpoint}", flush=True)
        return str(checkpoint)
    if resume and (plan.work / artifacts.KEPT).exists():
        if is_first_process():
            print(f"{plan.stage}: resuming with what is saved in {plan.work / artifacts.KEPT}", flush=True)
        return None
    if not is_first_process():  # the first has emptied the folder before it started this one, and is using it
        return None
    if resume:
        print(f"{plan.stage}: no checkpoint of these settings, starting at the beginning", flush=True)
    shutil.rmtree(plan.work, ignore_errors=True)
    plan.work.mkdir(parents=True)
    return None
