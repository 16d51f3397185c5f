"""What the cost and the reward stage share: a score model, its optimiser, its export.

Weights are loaded in ``configure_model`` and nothing before, so that every config can be instantiated cheaply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.training.checkpoints import leave_out_frozen, put_back_frozen
from csrlhf.training.optim import build_optimizer, build_schedule
from csrlhf.training.settings import CostSettings, RewardSettings
from csrlhf.training.step import StepLoss


class ScoreModule(LightningModule):
    """Trains a ``ScoreModel``; subclasses define loss and metrics.

    Args:
        score: which model to train.
        settings: optimiser and schedule, beside what the subclass reads.

    Attributes:
        final_metrics: what a validation or test run outside of training found, keyed ``area/name``.
    """

    model: ScoreModel

    def __init__(self, score: ScoreSpec, settings: RewardSettings | CostSettings) -> None:
        super().__init__()
        self.score = score
        self._optimizer, self._schedule = settings.optimizer, settings.schedule
        self.step_loss = StepLoss()
        self.final_metrics: dict[str, float] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return self.score.tokenizer

    def output_names(self) -> Sequence[str]:
        """The name of each score."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Load the backbone and put a fresh head on it, once."""
        if not hasattr(self, "model"):
            self.model = self.score.build(self.output_names())

    def configure_optimizers(self) -> dict[str, Any]:
        """One optimiser over all trainable weights, with its schedule per step."""
        optimizer = build_optimizer(self.model.named_parameters(), self._optimizer)
        schedule = build_schedule(optimizer, int(self.trainer.estimated_stepping_batches), self._schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def weighted(self, loss: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """The loss of this share in the batch's mean, logged with the rate; stops where it is not finite."""
        loss = batch["weight"] * loss
        self.step_loss.add(self, loss, batch["is_last"])
        if batch["is_last"]:
            self.log("train/lr", max(group["lr"] for group in self.trainer.optimizers[0].param_groups))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Lightning validates at the end of an epoch, but not where max_steps ends the run within one: the weights
        # of the last steps would be judged never, and the checkpoint of an earlier epoch selected instead.
        if self.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True

    @property
    def in_training(self) -> bool:
        """True during ``trainer.fit``: validation then is a glance, not the report."""
        return self.trainer.state.fn == "fit"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        leave_out_frozen(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        put_back_frozen(self, checkpoint)

    def export(self, folder: Path) -> None:
        """Write model, head and tokenizer as one Hugging Face folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
