"""Stage ``sft``: supervised fine-tuning, cross-entropy on response tokens. The reference of the later stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.demonstrations import DemonstrationBatch
from csrlhf.models.adapters import save_policy
from csrlhf.models.loading import resolve_path
from csrlhf.models.policy import PolicySpec
from csrlhf.training.checkpoints import leave_out_frozen, put_back_frozen
from csrlhf.training.first_look import evaluate_now
from csrlhf.training.optim import build_optimizer, build_schedule
from csrlhf.training.ranks import sum_over_ranks
from csrlhf.training.settings import SFTSettings
from csrlhf.training.step import StepLoss, response_loss


class SFTModule(LightningModule):
    """Fine-tunes a causal model on demonstrations."""

    model: PreTrainedModel

    def __init__(self, policy: PolicySpec, settings: SFTSettings) -> None:
        """Keep the settings; weights are made in ``configure_model``.

        Args:
            policy: which model to start from.
            settings: optimiser and schedule.
        """
        super().__init__()
        self.policy, self.settings = policy, settings
        self.step_loss = StepLoss()
        self.final_metrics: dict[str, float] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self.policy.tokenizer

    def configure_model(self) -> None:
        """Load or initialise the weights, once."""
        if not hasattr(self, "model"):
            self.model = self.policy.build()

    def on_train_start(self) -> None:
        """Evaluate the model as it came; a resumed run has done so."""
        if self.trainer.global_step == 0:
            evaluate_now(self.trainer)

    def training_step(self, batch: DemonstrationBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy per response token."""
        loss, _ = response_loss(self.model, batch)
        loss = batch.weight * loss
        self.step_loss.add(self, loss, batch.is_last)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start fresh sums."""
        self._sums: list[tuple[float, float, int]] = []

    def validation_step(self, batch: DemonstrationBatch, batch_idx: int) -> None:
        """Cross-entropy and next-token accuracy on held-out demonstrations."""
        loss, accuracy = response_loss(self.model, batch)
        num_tokens = int(batch.response_mask_BS[:, 1:].sum())
        self._sums.append((float(loss) * num_tokens, float(accuracy) * num_tokens, num_tokens))

    def on_validation_epoch_end(self) -> None:
        """Means over all tokens of all processes (Lightning's own average rounds the counts to whole numbers)."""
        sums = torch.tensor(self._sums, dtype=torch.float64).sum(dim=0)
        loss, hits, num_tokens = sum_over_ranks(self, sums).tolist()
        self.log("validation/loss", loss / num_tokens, prog_bar=True)
        self.log("validation/token_accuracy", hits / num_tokens)

    def configure_optimizers(self) -> dict[str, Any]:
        """One optimiser over all trainable weights, with its schedule per step."""
        optimizer = build_optimizer(self.model.named_parameters(), self.settings.optimizer)
        schedule = build_schedule(optimizer, int(self.trainer.estimated_stepping_batches), self.settings.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        leave_out_frozen(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        put_back_frozen(self, checkpoint)

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the model and its tokenizer as a Hugging Face folder."""
        save_policy(
            self.model, folder, self.policy.saved_as, resolve_path(self.policy.path) if self.policy.path else ""
        )
        self.tokenizer.save_pretrained(folder)
