"""The stages in order, each as its own process, each skipped when its result stands.

Processes, because a multi-process launcher (DDP) runs the command line again and must find one stage in
it. This file imports neither torch nor Lightning: the parent waits, it does not compute.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from csrlhf.config.overrides import from_nothing
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


@dataclass(frozen=True)
class Composed:
    """A stage of the pipeline: the words that run it, its config and the chosen option of each group."""

    words: list[str]
    cfg: DictConfig
    choices: dict[str, str]


def run(cfg: DictConfig, overrides: Sequence[str], program: Sequence[str]) -> dict[str, float]:
    """Runs all stages and prints where the results are.

    Args:
        cfg: the composed config of ``stage=pipeline``.
        overrides: the user's overrides, handed to every stage.
        program: the command that starts this program.

    Returns:
        The metrics of all stages; later ones win where keys are equal.

    Raises:
        UserError: started as one rank of a multi-process launcher.
        StageError: a stage ended with an error.
    """
    refuse_ranks(os.environ, cfg.stage.stages, readable(program))
    composed = compose_stages(cfg, overrides)  # all at once: a mistake shows before any work
    variables = {GROUP: f"pipeline-{datetime.now():%Y%m%d-%H%M%S}"} | os.environ
    rehearsed = False
    metrics: dict[str, float] = {}
    folders: dict[str, Path] = {}
    for plan, words in plans(composed, readable(program)):
        if artifacts.restore(plan.folder, plan.fingerprint):
            if plan.stage == "ppo":
                artifacts.point_latest(plan.folder)
            print(f"{plan.stage}: unchanged, {plan.folder}", flush=True)
        else:
            if not rehearsed:  # only where something runs: it costs the imports
                _rehearse({stage: parts_of(item.cfg) for stage, item in composed.items()}, program, cfg.debug)
                rehearsed = True
            _call([*program, *words], environment(variables, plan.stage))
        metrics |= json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8"))
        folders[plan.stage] = plan.folder
    print("Results (curves in plots/curves.png):")
    for stage, folder in folders.items():
        print(f"{stage:>9}  {folder}")
    return {key: value for key, value in metrics.items() if value is not None}


def compose_stages(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Composed]:
    """The config of each stage, in order; arguments as in :func:`run`."""
    kept = [item for item in overrides if not item.startswith("stage=")]
    composed = {}
    for stage in cfg.stage.stages:
        words = from_nothing([*kept, f"stage={stage}", *cfg.pipeline[stage]])
        composed[stage] = Composed(words, *_compose(words))
    return composed


def plans(composed: Mapping[str, Composed], command: str) -> Iterator[tuple[Plan, list[str]]]:
    """Each stage's plan with the words that run it, one at a time: a plan reads what the stages before it have made."""
    inputs: list[str] = []
    for stage, item in composed.items():
        plan = make_plan(item.cfg, item.choices, command)
        yield plan, [*item.words, *inputs]
        if stage == "ppo":  # several runs stand side by side: name the one to evaluate
            inputs.append(f"inputs.ppo={_quoted(str(plan.folder))}")
            for later in composed.values():
                later.cfg.inputs.ppo = str(plan.folder)


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
    _call([*words, "debug=true"] if debug else words, dict(os.environ))


def _call(words: list[str], variables: dict[str, str]) -> None:
    """Runs a stage and stops the pipeline where it fails."""
    code = run_program(words, variables)
    if code:
        sys.stdout.flush()
        raise StageError(code)
