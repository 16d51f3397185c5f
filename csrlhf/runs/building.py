"""From a stage's config to its trainer, module and data. The only place, beside the rehearsal, that builds them.

Hooks that it uses beside Lightning's: ``module.tokenizer`` is handed to the DataModule; ``logger.begin_stage``, where a
logger has it (tracking/stage_logger.py), gets the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import contracts
from csrlhf.errors import UserError
from csrlhf.runs import provenance
from csrlhf.runs.plan import Plan

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer

    from csrlhf.tracking.stage_logger import StageLogger


def build(cfg: DictConfig, plan: Plan) -> tuple[Trainer, LightningModule, LightningDataModule]:
    """Builds what the config describes. Importing Lightning takes seconds, so it happens here."""
    from csrlhf.tracking.history import HistoryLogger
    from csrlhf.tracking.quiet import quiet

    quiet()
    import lightning.pytorch as pl

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    contracts.check_stage(*(_plain(cfg[part]) for part in ("module", "datamodule")))
    module = instantiate(cfg.module)
    datamodule = instantiate(cfg.datamodule, tokenizer=module.tokenizer)
    history = HistoryLogger(plan.work / "history.csv")
    trainer: Trainer = instantiate(
        cfg.trainer,
        logger=[history, *(instantiate(logger) for logger in cfg.logger.values())],
        callbacks=[instantiate(callback) for callback in cfg.callbacks.values() if callback is not None],
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
    return OmegaConf.to_container(cfg, resolve=True)
