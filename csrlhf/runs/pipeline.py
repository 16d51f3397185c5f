"""The stages in order, each as its own process, each skipped when its result stands.

Processes, because a multi-process launcher (DDP) runs the command line again and must find one stage in
it. This file imports neither torch nor Lightning: the parent waits, it does not compute.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from csrlhf.config.overrides import prepared
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.plan import Plan, make_plan, marked_copy
from csrlhf.runs.processes import run_program

HIDDEN_FROM_OTHERS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID")
"""A W&B agent exports one run id; only the stage that is swept (ppo) may take it."""

GROUP = "WANDB_RUN_GROUP"
"""W&B's variable for runs that belong together; one value per pipeline run unless the user has set it."""

RANK_VARIABLES = {"RANK": 0, "LOCAL_RANK": 0, "SLURM_PROCID": 0, "WORLD_SIZE": 1, "SLURM_NTASKS": 1}
"""Variables of multi-process launchers, and the largest value that means 'a single process'."""


class StageError(Exception):
    """A stage's process ended with an error that it has reported itself; carries its exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def run(cfg: DictConfig, overrides: Sequence[str], program: Sequence[str]) -> dict[str, float]:
    """Runs all stages and prints where the results are.

    Args:
        cfg: the composed config of ``stage=pipeline``.
        overrides: the user's overrides, handed to every stage.
        program: the words that start this program.

    Returns:
        The metrics of all stages; later ones win where keys are equal.

    Raises:
        UserError: started as one rank of a multi-process launcher, or with a ``fast_dev_run``.
        StageError: a stage ended with an error.
    """
    stages = list(cfg.stage.stages)
    refuse_ranks(os.environ, stages, readable(program))
    if OmegaConf.select(cfg, "trainer.fast_dev_run", default=False):
        raise UserError(
            "trainer.fast_dev_run: keeps no result, which the next stage would read; name a stage=, or write debug=fast"
        )
    kept = [item for item in overrides if not item.startswith("stage=")]
    words = {stage: prepared([*kept, f"stage={stage}", *cfg.pipeline[stage]]) for stage in stages}
    composed = {stage: _compose(words[stage]) for stage in stages}  # all at once: a mistake shows before any work
    variables = {GROUP: f"pipeline-{datetime.now():%Y%m%d-%H%M%S}"} | os.environ
    rehearsed = False
    metrics: dict[str, float] = {}
    plans: list[Plan] = []
    inputs: list[str] = []
    for stage, (stage_cfg, choices) in composed.items():
        if plans and plans[-1].stage == "ppo":  # several runs stand side by side: name the one to evaluate
            stage_cfg.inputs.ppo = str(plans[-1].folder)
            inputs.append(f"inputs.ppo={_quoted(str(plans[-1].folder))}")
        plan = make_plan(stage_cfg, choices, readable(program))
        if artifacts.restore(plan.folder, plan.fingerprint):
            if stage == "ppo":
                artifacts.point_latest(plan.folder)
            print(f"{stage}: unchanged, {plan.folder}", flush=True)
        else:
            if not rehearsed:  # only where something runs: it costs the imports
                _rehearse({name: parts_of(item) for name, (item, _) in composed.items()}, program, cfg.debug)
                rehearsed = True
            _call([*program, *words[stage], *inputs], environment(variables, stage))
        metrics |= json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8"))
        plans.append(plan)
    print("Results (curves in plots/curves.png):")
    for plan in plans:
        print(f"{plan.stage:>9}  {plan.folder}")
    return {key: value for key, value in metrics.items() if value is not None}


def refuse_ranks(variables: Mapping[str, str], stages: Iterable[str], command: str) -> None:
    """Raises a UserError where a launcher would start the whole pipeline once per rank."""
    for name, single in RANK_VARIABLES.items():
        if variables.get(name, "0").isdigit() and int(variables.get(name, "0")) > single:
            each = "; ".join(f"{command} stage={stage}" for stage in stages)
            raise UserError(
                f"stage=pipeline cannot run as one rank of several ({name}={variables[name]}); "
                f"launch the stages one by one: {each}"
            )


def environment(variables: Mapping[str, str], stage: str) -> dict[str, str]:
    """The environment of a stage's process."""
    return {key: value for key, value in variables.items() if stage == "ppo" or key not in HIDDEN_FROM_OTHERS}


def readable(program: Sequence[str]) -> str:
    """The program's words as a user would type them."""
    return " ".join(["python", *program[1:]])


def quote(overrides: Iterable[str]) -> str:
    """Overrides as words of a shell command."""
    return shlex.join(overrides)


def _quoted(value: str) -> str:
    """A value in Hydra's quotes, so that any path can be an override."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _compose(words: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """A stage's config and the chosen option of each group."""
    cfg = compose("train", overrides=words, return_hydra_config=True)
    choices: Any = OmegaConf.to_container(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def parts_of(cfg: DictConfig) -> dict[str, Any]:
    """What a stage builds, as plain containers: its module, data and trainer."""
    copy = marked_copy(cfg, {})
    return {part: OmegaConf.to_container(copy[part], resolve=True) for part in ("module", "datamodule", "trainer")}


def _rehearse(parts: Mapping[str, Any], program: Sequence[str], debug: bool) -> None:
    """Builds every stage's objects in another process (rehearsal.py)."""
    words = [program[0], "-m", "csrlhf.runs.rehearsal", json.dumps(parts)]
    _call([*words, "debug=trace"] if debug else words, dict(os.environ))


def _call(words: list[str], variables: dict[str, str]) -> None:
    """Runs a stage and stops the pipeline where it fails."""
    code = run_program(words, variables)
    if code:
        sys.stdout.flush()
        raise StageError(code)
