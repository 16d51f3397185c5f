"""One stage, from config to published result: the same few steps for every stage.

plan -> build -> fit -> best weights -> validate and test -> export -> publish. What a stage is stands in its
declaration (stages/base.py), its LightningModule and its DataModule; this file knows none of them. A stage without a
trainer brings a program of its own. The hooks that it uses beside Lightning's:

- ``module.tokenizer``: handed to the DataModule; how it writes conversations goes into ``csrlhf.json``.
- ``module.export(folder)``: writes model and tokenizer in Hugging Face layout.
- ``module.final_metrics``: flat numbers beside Lightning's ``callback_metrics``.
- ``module.report``, where it has one: the page that it has exported, whose tables and figures go to the trackers.
- ``module.seen``, where it has one: the prompts on which it has seen responses of which models (seen_prompts.py).
- ``datamodule.take_known(known)``, where it has this method: is told what took part in making its inputs, and what was
  seen of them since.
- ``datamodule.source``: its prompts are compared with those of earlier stages (leak_check.py).
- ``datamodule.intake``, where it has one: what became of the source's rows (``csrlhf.data.intake``), for the record.
- ``datamodule.source.has("test")`` and ``offers(kind, "test")``, where the source has these methods: whether there is a
  test split, with rows for this stage.
- ``logger.begin_stage`` and ``logger.end_stage``, where a logger has them (tracking/stage_logger.py).
"""

from __future__ import annotations

import difflib
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import contracts, search_path
from csrlhf.config.contracts import check_strategy
from csrlhf.config.schema import prepare
from csrlhf.errors import UserError, system_message
from csrlhf.models.settings import attention
from csrlhf.runs import artifacts
from csrlhf.runs import plan as provenance
from csrlhf.runs.conversations import conversations_record, tell_clock
from csrlhf.runs.leak_check import check_leaks, known_to
from csrlhf.runs.plan import Plan, apply_plan, make_plan
from csrlhf.runs.processes import is_first_process, readable
from csrlhf.runs.seen_prompts import looks_at, record_seen
from csrlhf.runs.stages.base import declaration
from csrlhf.runs.stages.pipeline import GROUP

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer

    from csrlhf.tracking.stage_logger import StageLogger

LAST_CHECKPOINT = "checkpoints/last.ckpt"


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
        Its metrics, and the folder of its result by the stage's name; none of ``stage=data``.
    """
    hydra = HydraConfig.get()
    prepare(cfg)
    if not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: must be a whole number from 0 to {2**32 - 1}")
    program = [*program, *search_path.given_folder()]
    if hydra.mode is RunMode.MULTIRUN:  # every launcher's jobs find the same: the sweep's folder is named once
        os.environ.setdefault(GROUP, f"multirun-{Path(hydra.sweep.dir).name}")
    overrides = list(hydra.overrides.task)
    own_program = declaration(cfg.stage.declaration).run
    if own_program is not None:
        metrics, folder = own_program(cfg, overrides, program)
        return metrics, {} if folder is None else {cfg.stage.name: folder}
    plan = make_plan(cfg, dict(hydra.runtime.choices), readable(program))
    words = readable(program, overrides)
    try:
        return run_stage(cfg, plan, words), {plan.stage: plan.folder}
    except OSError as error:  # a full disk, one that has gone
        if not leaves_something(plan):
            raise
        raise UserError(f"{system_message(error)}; finished work is kept; resume with: {words} resume=true") from error


def run_stage(cfg: DictConfig, plan: Plan, command: str) -> dict[str, float]:
    """Executes a plan and publishes its result; all models are loaded with the attention of ``model.attention``.

    Returns:
        The stage's metrics, as in ``metrics.json``.

    Raises:
        UserError: a value is out of range, data is broken, a loss is not finite, or the strategy is not one of those
            that the tests compare.
        KeyboardInterrupt: with the command that resumes the run.
    """
    with attention(OmegaConf.select(cfg, "model.attention", default=None)):
        return _run_stage(cfg, plan, command)


def _run_stage(cfg: DictConfig, plan: Plan, command: str) -> dict[str, float]:
    started = time.monotonic()
    check_strategy(cfg.trainer.get("strategy", "auto"))  # before the folder of an earlier attempt is emptied
    apply_plan(cfg, plan)
    rehearsing = bool(OmegaConf.select(cfg, "trainer.fast_dev_run", default=False))
    resume_from = prepare_work(plan, cfg.resume)
    trainer, module, datamodule = build(cfg, plan)
    from lightning.pytorch.utilities.exceptions import MisconfigurationException  # imported by now

    _check_leaks(cfg, plan, datamodule)
    tell_clock(plan.stage, module.tokenizer)
    metrics: dict[str, float] = {}
    try:
        for step in cfg.stage.steps:
            if step == "test" and not _has_test(datamodule, plan):
                continue
            if step == "fit":
                trainer.fit(module, datamodule, ckpt_path=resume_from, weights_only=True)
                _tell_early_stop(trainer, plan.stage)
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
    except (RuntimeError, MisconfigurationException) as error:
        if (problem := _unknown_monitor(cfg, trainer, str(error))) is None:
            raise
        raise UserError(problem) from error
    if trainer.is_global_zero and rehearsing:
        shutil.rmtree(plan.work, ignore_errors=True)
        print(f"{plan.stage}: trainer.fast_dev_run has come through; nothing is kept of it", flush=True)
    elif trainer.is_global_zero:
        _log_rest(trainer, metrics)
        if (seen := getattr(module, "seen", None)) is not None:
            record_seen(Path(cfg.artifacts), plan.folder, seen)
        intake = getattr(datamodule, "intake", None)
        _publish(cfg, plan, module, metrics, None if intake is None else intake.record())
        if (report := getattr(module, "report", None)) is not None:
            from csrlhf.tracking.stage_logger import log_report

            log_report(trainer.loggers, report)
        for logger in stage_loggers(trainer):
            logger.end_stage(plan.folder)
        print(f"{plan.stage}: {plan.folder} ({time.monotonic() - started:.0f} s)", flush=True)
    return metrics


def build(cfg: DictConfig, plan: Plan) -> tuple[Trainer, LightningModule, LightningDataModule]:
    """Builds what the config describes. Importing Lightning takes seconds, so it happens here."""
    from csrlhf.tracking.history import HistoryLogger
    from csrlhf.tracking.quiet import quiet

    quiet()
    import lightning.pytorch as pl

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    contracts.check_stage(*(_plain(cfg[part]) for part in ("module", "datamodule")))
    callbacks = {name: _plain(node) for name, node in cfg.callbacks.items() if node is not None}
    contracts.check("trainer", _plain(cfg.trainer))
    for name, node in callbacks.items():
        contracts.check(f"callbacks.{name}", node)
    module = instantiate(cfg.module)
    datamodule = instantiate(cfg.datamodule, tokenizer=module.tokenizer)
    rehearsing = cfg.trainer.get("fast_dev_run", False)  # Lightning then logs nothing; W&B would have begun a run
    loggers = [] if rehearsing else [instantiate(logger) for logger in cfg.logger.values()]
    trainer: Trainer = instantiate(
        cfg.trainer,
        logger=[HistoryLogger(plan.work / "history.csv"), *loggers],
        callbacks=[instantiate(callback) for callback in callbacks.values()],
    )
    if trainer.world_size > 1 and OmegaConf.select(cfg, "trainer.strategy", default="auto") == "auto":
        raise UserError(f"trainer.devices={cfg.trainer.devices}: several processes need a strategy; add trainer=ddp")
    for logger in trainer.loggers:
        logger.log_hyperparams(_plain(cfg) | {"provenance": provenance.origin(plan)})
    for logger in stage_loggers(trainer):
        logger.begin_stage(plan.title, plan.inputs)
    return trainer, module, datamodule


def stage_loggers(trainer: Trainer) -> list[StageLogger]:
    """Those of the trainer's loggers that want to know when a stage begins and ends."""
    from csrlhf.tracking.stage_logger import StageLogger

    return [logger for logger in trainer.loggers if isinstance(logger, StageLogger)]


def _plain(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)


# The working folder of a stage: what a stopped run leaves there, and whether another one goes on from it.


def last_checkpoint(plan: Plan) -> Path:
    """Where the last checkpoint of a run is, if it has come to one."""
    return plan.work / LAST_CHECKPOINT


def leaves_something(plan: Plan) -> bool:
    """True where a later run can go on: from a checkpoint, or from answers and scores that are kept."""
    return last_checkpoint(plan).exists() or (plan.work / artifacts.KEPT).exists()


def prepare_work(plan: Plan, resume: bool) -> str | None:
    """Returns the checkpoint to go on from; the folder starts empty where there is nothing to go on from."""
    checkpoint, kept = last_checkpoint(plan), plan.work / artifacts.KEPT
    found = resume and checkpoint.exists()
    going_on = found or (resume and kept.exists())
    if is_first_process():  # another one was started by the first, which is using the folder already
        if going_on:
            print(
                f"{plan.stage}: resuming {f'from {checkpoint}' if found else f'with what is saved in {kept}'}",
                flush=True,
            )
        elif resume:
            print(f"{plan.stage}: no checkpoint of these settings, starting at the beginning", flush=True)
        if not going_on:
            shutil.rmtree(plan.work, ignore_errors=True)
            plan.work.mkdir(parents=True)
    return str(checkpoint) if found else None


def _log_rest(trainer: Trainer, metrics: dict[str, float]) -> None:
    """Logs, as a closing row, those final metrics that no row has carried: every tracker then has every key."""
    from csrlhf.tracking.history import HistoryLogger

    history = next(logger for logger in trainer.loggers if isinstance(logger, HistoryLogger))
    rest = {key: value for key, value in metrics.items() if key not in history.columns}
    for logger in trainer.loggers if rest else ():
        logger.log_metrics(rest, step=history.last_step)


def _tell_early_stop(trainer: Trainer, stage: str) -> None:
    for callback in trainer.early_stopping_callbacks:
        if trainer.is_global_zero and callback.stopping_reason_message:
            reason = callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
            print(f"{stage}: stopped early, after epoch {callback.stopped_epoch + 1}: {reason}", flush=True)


def _unknown_monitor(cfg: DictConfig, trainer: Trainer, complaint: str) -> str | None:
    """What to say of a callback that watches a metric which nothing logs; None where Lightning complains of another."""
    there = sorted(trainer.callback_metrics)
    for name, callback in cfg.callbacks.items():
        watched = OmegaConf.select(callback, "monitor") if callback is not None else None
        if watched is not None and watched in complaint and watched not in there:
            close = difflib.get_close_matches(watched, there, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            return (
                f"callbacks.{name}.monitor={watched}: stage={cfg.stage.name} logs no such metric; {meant}There are "
                f"{', '.join(there)}"
            )
    return None


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


def _publish(
    cfg: DictConfig,
    plan: Plan,
    module: LightningModule,
    metrics: dict[str, float],
    rows: dict[str, Any] | None,
) -> None:
    def write(folder: Path) -> None:
        module.export(folder)  # type: ignore[operator]  # our hook, not Lightning's
        artifacts.write_json(folder / "metrics.json", metrics)
        for name in ("history.csv", "plots"):
            source = plan.work / name
            if source.is_dir():
                shutil.copytree(source, folder / name, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, folder / name)
        record = provenance.record(cfg, plan, metrics, rows) | conversations_record(module.tokenizer)
        artifacts.write_json(folder / artifacts.RECORD, record)

    artifacts.publish(plan.folder, write)
    if plan.declared.swept:
        artifacts.point_latest(plan.folder)
    shutil.rmtree(plan.work, ignore_errors=True)


def _check_leaks(cfg: DictConfig, plan: Plan, datamodule: LightningDataModule) -> None:
    """Compares held-out prompts with trained ones, in the first process: the trainer knows its rank only later."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    take_known = getattr(datamodule, "take_known", None)
    if take_known is not None:  # in every process: a generated world draws its prompts around what is known
        known = known_to(plan.inputs)
        if "ppo" in plan.inputs:
            costs = [path for key, path in plan.inputs.items() if key.startswith(("cost", "certify.judge"))]
            looks, unread = looks_at(Path(cfg.artifacts), plan.inputs["ppo"], costs)
            known = replace(known, looks=tuple(looks), unchecked=(*known.unchecked, *unread))
        take_known(known)

    source = getattr(datamodule, "source", None)
    if rank_zero_only.rank == 0 and source is not None:
        check_leaks(cfg.leaks, plan.stage, source, plan.inputs, cfg)  # type: ignore[arg-type]  # a mapping


def _has_test(datamodule: LightningDataModule, plan: Plan) -> bool:
    """False where the source has no test split (``data.test=null``), or one that serves other stages than this."""
    if hasattr(datamodule, "take_known"):  # a certificate's prompts need not be the source's
        return True
    source = getattr(datamodule, "source", None)
    if not getattr(source, "has", lambda split: True)("test"):
        return False
    trained = [kind for kind, splits in plan.declared.reads.items() if {"train", "test"} <= set(splits)]
    return all(getattr(source, "offers", lambda kind, split: True)(kind, "test") for kind in trained)


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def _objective(key: str | None, metrics: dict[str, float]) -> float | None:
    if key is None:
        return None
    if key not in metrics:
        raise UserError(f"objective={key}: there is no such metric; there are {', '.join(sorted(metrics))}")
    return metrics[key] if math.isfinite(metrics[key]) else None
