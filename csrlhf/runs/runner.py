"""One stage, from config to published result: the same few steps for every stage.

plan -> build -> fit -> best weights -> validate and test -> export -> publish. What a stage is stands in
its LightningModule and DataModule; this file knows neither. The hooks that it uses beside Lightning's:

- ``module.tokenizer``: handed to the DataModule.
- ``module.export(folder)``: writes model and tokenizer in Hugging Face layout.
- ``module.final_metrics``: flat numbers beside Lightning's ``callback_metrics``.
- ``module.report``, where it has one: the page that it has exported, whose tables and figures go to the trackers.
- ``datamodule.take_known(known)``, where it has this method: is told what took part in making its inputs.
- ``datamodule.source``: its prompts are compared with those of earlier stages (leak_check.py).
- ``datamodule.source.has("test")``, where the source has this method: whether there is a test split.
- ``logger.begin_stage`` and ``logger.end_stage``, where a logger has them (tracking/stage_logger.py).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from csrlhf.errors import UserError, system_message
from csrlhf.runs import artifacts, pipeline, provenance
from csrlhf.runs.building import build, stage_loggers
from csrlhf.runs.leak_check import check_leaks, known_to
from csrlhf.runs.plan import Plan, apply_plan, make_plan
from csrlhf.runs.stages import data as data_stage
from csrlhf.runs.stages import decode as decode_stage
from csrlhf.runs.strategies import check_strategy
from csrlhf.runs.work_folder import last_checkpoint, leaves_something, prepare_work

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer


def run(cfg: DictConfig, program: Sequence[str]) -> float | None:
    """Runs the stage that ``cfg.stage`` names.

    Args:
        cfg: the composed config.
        program: the command that starts this program, e.g. ``("python", "train.py")``.

    Returns:
        The value of the metric ``cfg.objective``, for sweeps; None where none is asked for.
    """
    metrics, _ = execute(cfg, program)
    return _objective(cfg.objective, metrics)


def execute(cfg: DictConfig, program: Sequence[str]) -> tuple[dict[str, float], dict[str, Path]]:
    """Runs the stage that ``cfg.stage`` names; arguments as in :func:`run`.

    Returns:
        Its metrics, and the folder of its result by the stage's name: none of the pipeline, whose folders are those of
        ``pipeline.plans``, and of ``stage=data``.
    """
    hydra = HydraConfig.get()
    if not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: must be a whole number from 0 to {2**32 - 1}")
    command = pipeline.readable(program)
    if cfg.stage.name == "pipeline":
        return pipeline.run(cfg, list(hydra.overrides.task), program), {}
    if cfg.stage.name == "data":
        return data_stage.run(cfg), {}
    if cfg.stage.name == "decode":
        metrics, folder = decode_stage.run(cfg, command)
        return metrics, {"decode": folder}
    plan = make_plan(cfg, dict(hydra.runtime.choices), command)
    words = f"{command} {pipeline.quote(hydra.overrides.task)}"
    try:
        return run_stage(cfg, plan, words), {plan.stage: plan.folder}
    except OSError as error:  # a full disk, one that has gone
        if not leaves_something(plan):
            raise
        raise UserError(f"{system_message(error)}; finished work is kept; resume with: {words} resume=true") from error


def run_stage(cfg: DictConfig, plan: Plan, command: str) -> dict[str, float]:
    """Executes a plan and publishes its result.

    Returns:
        The stage's metrics, as in ``metrics.json``.

    Raises:
        UserError: a value is out of range, data is broken, a loss is not finite, or the strategy is not one of those
            that the tests compare.
        KeyboardInterrupt: with the command that resumes the run.
    """
    started = time.monotonic()
    check_strategy(cfg.trainer.get("strategy", "auto"))  # before the folder of an earlier attempt is emptied
    apply_plan(cfg, plan)
    resume_from = prepare_work(plan, cfg.resume)
    trainer, module, datamodule = build(cfg, plan)
    _check_leaks(cfg, plan, datamodule)
    metrics: dict[str, float] = {}
    steps: Sequence[str] = OmegaConf.select(cfg, "stage.steps", default=("fit", "validate", "test"))
    try:
        for step in steps:
            if step == "test" and not _has_test(datamodule):
                continue
            if step == "fit":
                trainer.fit(module, datamodule, ckpt_path=resume_from, weights_only=True)
                _load_best(trainer, module)
            else:
                getattr(trainer, step)(module, datamodule, verbose=False)
            metrics |= _numbers(trainer.callback_metrics) | _numbers(module.final_metrics)  # type: ignore[arg-type]  # our hook
    except SystemExit as stopped:  # what Lightning turns Ctrl-C into, after an orderly shutdown
        if not trainer.interrupted:
            raise
        hint = f"; resume with: {command} resume=true" if leaves_something(plan) else ""
        raise KeyboardInterrupt(f"{plan.stage}: interrupted{hint}") from stopped
    except UserError as error:
        if (checkpoint := last_checkpoint(plan)).exists():
            error.args = (f"{error}; the last good checkpoint is {checkpoint}",)
        raise
    if trainer.is_global_zero:
        _log_rest(trainer, metrics)
        _publish(cfg, plan, module, metrics)
        if (report := getattr(module, "report", None)) is not None:
            from csrlhf.tracking.stage_logger import log_report

            log_report(trainer.loggers, report)
        for logger in stage_loggers(trainer):
            logger.end_stage(plan.folder)
        print(f"{plan.stage}: {plan.folder} ({time.monotonic() - started:.0f} s)", flush=True)
    return metrics


def _log_rest(trainer: Trainer, metrics: dict[str, float]) -> None:
    """Logs, as a closing row, those final metrics that no row has carried: every tracker then has every key."""
    from csrlhf.tracking.history import HistoryLogger

    history = next(logger for logger in trainer.loggers if isinstance(logger, HistoryLogger))
    rest = {key: value for key, value in metrics.items() if key not in history.columns}
    for logger in trainer.loggers if rest else ():
        logger.log_metrics(rest, step=history.last_step)


def _load_best(trainer: Trainer, module: LightningModule) -> None:
    """Puts the weights of the best checkpoint into the module, where a metric was watched."""
    import torch

    checkpoint = trainer.checkpoint_callback
    path = getattr(checkpoint, "best_model_path", "")
    if not path or getattr(checkpoint, "monitor", None) is None:
        return
    saved = torch.load(path, map_location="cpu", weights_only=True)
    module.on_load_checkpoint(saved)  # puts back what checkpoints leave out
    module.load_state_dict(saved["state_dict"], strict=module.strict_loading)


def _publish(cfg: DictConfig, plan: Plan, module: LightningModule, metrics: dict[str, float]) -> None:
    def write(folder: Path) -> None:
        module.export(folder)  # type: ignore[operator]  # our hook, not Lightning's
        artifacts.write_json(folder / "metrics.json", metrics)
        for name in ("history.csv", "plots"):
            source = plan.work / name
            if source.is_dir():
                shutil.copytree(source, folder / name, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, folder / name)
        artifacts.write_json(folder / artifacts.RECORD, provenance.record(cfg, plan, metrics))

    artifacts.publish(plan.folder, write)
    if plan.stage == "ppo":
        artifacts.point_latest(plan.folder)
    shutil.rmtree(plan.work, ignore_errors=True)


def _check_leaks(cfg: DictConfig, plan: Plan, datamodule: LightningDataModule) -> None:
    """Compares held-out prompts with trained ones, in the first process: the trainer knows its rank only later."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    take_known = getattr(datamodule, "take_known", None)
    if take_known is not None:  # in every process: a generated world draws its prompts around what is known
        take_known(known_to(plan.inputs))

    source = getattr(datamodule, "source", None)
    if rank_zero_only.rank == 0 and source is not None:
        check_leaks(cfg.leaks, plan.stage, source, plan.inputs, cfg)  # type: ignore[arg-type]  # a mapping


def _has_test(datamodule: LightningDataModule) -> bool:
    """False where the data source says that it was given no test split (``data.test=null``)."""
    if hasattr(datamodule, "take_known"):  # a certificate's prompts need not be the source's
        return True
    has = getattr(getattr(datamodule, "source", None), "has", None)
    return has is None or has("test")


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def _objective(key: str | None, metrics: dict[str, float]) -> float | None:
    if key is None:
        return None
    if key not in metrics:
        raise UserError(f"objective={key}: there is no such metric; there are {', '.join(sorted(metrics))}")
    return metrics[key] if math.isfinite(metrics[key]) else None
