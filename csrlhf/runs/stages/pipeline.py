"""``stage=pipeline``: the stages in order, each as its own process, each skipped when its result stands.

Processes, because a multi-process launcher (DDP) runs the command line again and must find one stage in
it. This file imports neither torch nor Lightning: the parent waits, it does not compute.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from csrlhf.config.overrides import prepared
from csrlhf.config.schema import prepare
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.plan import Plan, make_plan, marked_copy
from csrlhf.runs.processes import one_of_several, readable, run_program
from csrlhf.runs.stages.base import Stage

OWN = ("stage=", "stage.stages=")
"""Overrides of the pipeline's that its stages have no key for."""

HIDDEN_FROM_OTHERS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID")
"""A W&B agent exports one run id; only the stage that is swept may take it."""

GROUP = "WANDB_RUN_GROUP"
"""W&B's variable for runs that belong together; one value per pipeline run unless the user has set it."""


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


def run(cfg: DictConfig, overrides: Sequence[str], program: Sequence[str]) -> tuple[dict[str, float], None]:
    """Runs all stages and prints where the results are.

    Args:
        cfg: the composed config of ``stage=pipeline``.
        overrides: the user's overrides, handed to every stage.
        program: the command that starts this program.

    Returns:
        The metrics of all stages; later ones win where keys are equal.

    Raises:
        UserError: started as one rank of a multi-process launcher, or with a ``fast_dev_run``.
        StageError: a stage ended with an error.
    """
    refuse_ranks(os.environ, cfg.stage.stages, readable(program))
    if OmegaConf.select(cfg, "trainer.fast_dev_run", default=False):
        raise UserError(
            "trainer.fast_dev_run: keeps no result, which the next stage would read; name a stage=, or write debug=fast"
        )
    composed = compose_stages(cfg, overrides)  # all at once: a mistake shows before any work
    variables = {GROUP: f"pipeline-{datetime.now():%Y%m%d-%H%M%S}"} | os.environ
    rehearsed = False
    metrics: dict[str, float] = {}
    folders: dict[str, Path] = {}
    for plan, words in plans(composed, readable(program)):
        if artifacts.restore(plan.folder, plan.fingerprint):
            if plan.declared.swept:
                artifacts.point_latest(plan.folder)
            print(f"{plan.stage}: unchanged, {plan.folder}", flush=True)
        else:
            if not rehearsed:  # only where something runs: it costs the imports
                _rehearse({stage: parts_of(item.cfg) for stage, item in composed.items()}, program, cfg.debug)
                rehearsed = True
            _call([*program, *words], environment(variables, plan.declared.swept))
        metrics |= json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8"))
        folders[plan.stage] = plan.folder
    print("Results (curves in plots/curves.png):")
    for stage, folder in folders.items():
        print(f"{stage:>9}  {folder}")
    return {key: value for key, value in metrics.items() if value is not None}, None


def compose_stages(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Composed]:
    """The config of each stage, in order; arguments as in :func:`run`."""
    kept = [item for item in overrides if not item.startswith(OWN)]
    composed = {}
    for stage in cfg.stage.stages:
        words = prepared([*kept, f"stage={stage}", *cfg.pipeline.get(stage, ())])
        composed[stage] = Composed(words, *_compose(words))
    return composed


def plans(composed: Mapping[str, Composed], command: str) -> Iterator[tuple[Plan, list[str]]]:
    """Each stage's plan with the words that run it, one at a time: a plan reads what the stages before it have made."""
    folders: dict[str, str] = {}
    for stage, item in composed.items():
        inputs = {name: folder for name, folder in folders.items() if name in item.cfg.inputs}
        item.cfg.inputs.update(inputs)
        plan = make_plan(item.cfg, item.choices, command)
        yield plan, [*item.words, *(f"inputs.{name}={_quoted(folder)}" for name, folder in inputs.items())]
        if plan.declared.swept:  # several runs side by side: name the new one
            folders[stage] = str(plan.folder)


def refuse_ranks(variables: Mapping[str, str], stages: Iterable[str], command: str) -> None:
    """Raises a UserError where a launcher would start the whole pipeline once per rank."""
    if said := one_of_several(variables):
        each = "; ".join(f"{command} stage={stage}" for stage in stages)
        raise UserError(
            f"stage=pipeline cannot run as one rank of several ({said}); launch the stages one by one: {each}"
        )


def environment(variables: Mapping[str, str], swept: bool) -> dict[str, str]:
    """The environment of a stage's process."""
    return {key: value for key, value in variables.items() if swept or key not in HIDDEN_FROM_OTHERS}


def _quoted(value: str) -> str:
    """A value in Hydra's quotes, so that any path can be an override."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _compose(words: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """A stage's config and the chosen option of each group."""
    cfg = compose("train", overrides=words, return_hydra_config=True)
    choices: Any = OmegaConf.to_container(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    prepare(cfg)
    return cfg, choices


def parts_of(cfg: DictConfig) -> dict[str, Any]:
    """What a stage builds, as plain containers: its module, data and trainer; and what it is."""
    copy = marked_copy(cfg, {})
    parts = ("module", "datamodule", "trainer", "stage")
    return {part: OmegaConf.to_container(copy[part], resolve=True) for part in parts}


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


STAGE = Stage(run=run)
