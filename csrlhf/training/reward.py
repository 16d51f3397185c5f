"""Stage ``reward``: a Bradley-Terry model of which response is better.

Legend of suffixes: B pairs of a batch, N pairs of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csrlhf.data.encoding import prompt_text
from csrlhf.data.source import DataSource, Split
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreSpec
from csrlhf.models.settings import TuningMethod
from csrlhf.ops.losses import bradley_terry_loss
from csrlhf.stats.intervals import bootstrap_intervals
from csrlhf.training.ranks import gather_lists
from csrlhf.training.score import ScoreModule
from csrlhf.training.settings import RewardSettings


class RewardModule(ScoreModule):
    """Fine-tunes a reward model on preference pairs.

    Args:
        score: as in ``ScoreModule``, but for the pooling where ``settings`` name one.
        settings: the group ``reward``.
    """

    def __init__(self, score: ScoreSpec, settings: RewardSettings) -> None:
        if score.tuning.method == TuningMethod.frozen:
            raise UserError(
                "model.score.tuning.method=frozen: a head is fitted to labels, and the reward model learns from pairs; "
                "give stage=reward another model, such as model=smollm2, or set full, lora or last_n"
            )
        super().__init__(score if settings.pooling is None else replace(score, pooling=settings.pooling), settings)
        self.settings = settings
        self._unit = 1.0  # of the model's scores now, in those of training
        self._judged: list[tuple[list[int], Tensor]] = []

    def output_names(self) -> Sequence[str]:
        """One output."""
        return ("reward",)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Bradley-Terry loss of a batch."""
        chosen_B, rejected_B = self._rewards(batch)
        loss = bradley_terry_loss(
            chosen_B, rejected_B, self.settings.regularization, self.settings.margin + batch["margin"]
        )
        return self.weighted(loss, batch)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score a batch; the numbers are made of the whole split."""
        columns = (*self._rewards(batch), self.settings.margin + batch["margin"])
        self._judged.append((batch["rows"], torch.stack(columns, dim=1).cpu()))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Pair accuracy, margin and loss; in a run of its own also the accuracy's interval."""
        self._report("validation")

    def on_test_epoch_end(self) -> None:
        """As in validation."""
        self._report("test")

    def _rewards(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        scores_B = self.model(batch["input_ids"], batch["mask"]).squeeze(1)
        chosen_B, rejected_B = scores_B.chunk(2)
        return chosen_B, rejected_B

    def _report(self, split: Split) -> None:
        judged = gather_lists(self, self._judged)
        self._judged = []
        rows_N, order_N = torch.tensor([row for rows, _ in judged for row in rows]).sort()
        chosen_N, rejected_N, asked_N = torch.cat([columns for _, columns in judged])[order_N].unbind(1)
        # A tie is half a hit: a model that scores everything alike knows nothing, and gets 0.5.
        hit_N = ((chosen_N > rejected_N).double() + 0.5 * (chosen_N == rejected_N).double()).numpy()
        # In the units of training on every split: the loss means something in these only, and the test split, judged
        # after standardisation, is to be comparable with validation.
        margin_N = self._unit * (chosen_N - rejected_N)
        numbers = {
            f"{split}/pair_accuracy": float(hit_N.mean()),
            f"{split}/margin": float(margin_N.mean()),
            f"{split}/loss": float(bradley_terry_loss(margin_N, torch.zeros_like(margin_N), margin=asked_N)),
        }
        if not self.in_training:
            numbers |= self._interval(split, hit_N, rows_N.tolist())
            self.final_metrics |= numbers
            if self.settings.standardize and split == "validation":
                self._standardize(torch.cat([chosen_N, rejected_N]))
        self.log_dict(numbers, prog_bar=self.in_training)

    def _standardize(self, rewards_M: Tensor) -> None:
        """Give the rewards of all validation responses mean 0 and deviation 1; the order of answers stays."""
        mean, deviation = rewards_M.mean(), rewards_M.std().clamp(min=1e-6)
        if self.model.head.bias is None:  # nothing in such a head moves all rewards alike: their level stays
            mean = torch.zeros_like(mean)
        device = self.model.temperature_K.device
        self.model.rescale(mean.to(device), deviation.to(device))
        self._unit *= float(deviation)
        self.final_metrics |= {"reward/shift": float(mean), "reward/scale": float(deviation)}

    def _interval(self, split: Split, hit_N: NDArray[np.float64], rows_N: Sequence[int]) -> dict[str, float]:
        source: DataSource = self.trainer.datamodule.source  # type: ignore[attr-defined]  # Lightning attaches it
        pairs = source.preferences(split)
        prompts = [prompt_text(pairs[row].prompt) for row in rows_N]  # all, but for trainer.limit_val_batches
        intervals = bootstrap_intervals(lambda rows: {"pair_accuracy": float(hit_N[rows].mean())}, prompts)
        low, high = intervals["pair_accuracy"]
        return {f"{split}/pair_accuracy_low": low, f"{split}/pair_accuracy_high": high}
