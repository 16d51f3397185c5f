"""Stage ``cost``: a classifier of responses, one output per constraint; logit > 0 means unsafe.

Training is Lightning's automatic optimisation. Validation during training logs point values only; a validation or
test run of its own (after training, with the best weights) adds confidence intervals, calibration and baselines.

Legend of suffixes: B sequences of a batch, N rows of a split, K constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from csrlhf.data.settings import CostLoss
from csrlhf.data.source import DataSource, MissingRowsError, Split
from csrlhf.models.score_model import ScoreSpec
from csrlhf.ops.losses import pairwise_cost_loss, semantic_cost_loss
from csrlhf.stats.classification import classification_metrics, expected_calibration_error, fit_temperature
from csrlhf.stats.cost_report import cost_report, of_split, split_area
from csrlhf.stats.drift import MAX_FEATURES, MAX_LENGTHS, Reference, one_of_each, spread, words_of
from csrlhf.training.head_fit import head_fit
from csrlhf.training.ranks import gather_lists
from csrlhf.training.score import ScoreModule
from csrlhf.training.settings import CostSettings
from csrlhf.types import LabelledRow


class CostModule(ScoreModule):
    """Fine-tunes a cost model on labelled dialogues. Its outputs are the data source's constraints.

    Args:
        score: as in ``ScoreModule``.
        settings: the group ``cost``.

    Attributes:
        probabilities: P(unsafe) ``[N, K]`` of each split judged last, in the source's order.
        logits: its logits ``[N, K]`` as the head gives them, before any temperature.
        features: pooled states ``[M, H]`` of at most ``MAX_FEATURES`` rows of the validation split, one of each prompt.
    """

    def __init__(self, score: ScoreSpec, settings: CostSettings) -> None:
        super().__init__(score, settings)
        self.settings = settings
        self._head_fit = head_fit(score.tuning, score.head_bias, settings)
        self.probabilities: dict[str, NDArray[np.float64]] = {}
        self.logits: dict[str, NDArray[np.float64]] = {}
        self.features: NDArray[np.float32] | None = None
        self._judged: list[tuple[list[int], Tensor, Tensor]] = []
        self._pooled: dict[int, Tensor] = {}
        self._wanted: set[int] | None = None
        self.featured: list[int] = []

    @property
    def source(self) -> DataSource:
        """Where the rows come from: the report needs their texts."""
        return self.trainer.datamodule.source  # type: ignore[attr-defined]  # Lightning attaches it at run time

    def output_names(self) -> Sequence[str]:
        """One output per constraint of the data."""
        return self.source.constraints

    def on_train_epoch_start(self) -> None:
        if self._head_fit is not None:
            self.model.backbone.eval()  # what the head is fitted to is what it will read: no dropout

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The chosen loss of a batch."""
        features_BH = self.model.features(batch["input_ids"], batch["mask"])
        if self._head_fit is not None:
            self._head_fit.keep(features_BH, batch["unsafe"])
        logits_BK = self.model.scores(features_BH)
        if self.settings.loss == CostLoss.semantic:
            return self.weighted(semantic_cost_loss(logits_BK, batch["unsafe"], self.settings.label_smoothing), batch)
        first_BK, second_BK = logits_BK.chunk(2)
        loss = pairwise_cost_loss(
            first_BK,
            second_BK,
            batch["order"],
            *batch["unsafe"].chunk(2),
            label_smoothing=self.settings.label_smoothing,
        )
        return self.weighted(loss, batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self._head_fit is not None and (
            batch_idx + 1 == self.trainer.num_training_batches or self.trainer.should_stop
        ):
            self._head_fit.fit(self, self.model)  # before Lightning validates and keeps the checkpoint

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Judge a batch; the numbers are made of the whole split."""
        pooled_BH = self._judge(batch)
        if not self.in_training:
            if self._wanted is None:
                self._wanted = set(_chosen(self.source.labelled("validation"), MAX_FEATURES))
            self._pooled |= {
                row: state.float().cpu()
                for row, state in zip(batch["rows"], pooled_BH, strict=True)
                if row in self._wanted
            }

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Judge a batch."""
        self._judge(batch)

    def _judge(self, batch: dict[str, Any]) -> Tensor:
        """Keeps a batch's logits and labels; gives the pooled states ``[B, H]``."""
        pooled_BH = self.model.features(batch["input_ids"], batch["mask"])
        self._judged.append((batch["rows"], self.model.scores(pooled_BH).cpu(), batch["unsafe"].cpu()))
        return pooled_BH

    def on_validation_epoch_end(self) -> None:
        """Point values while training, the whole report in a run of its own."""
        rows_N, logits_NK, unsafe_NK = self._collect()
        if self.in_training:
            self.log_dict(self._point_values(logits_NK, unsafe_NK), prog_bar=True)
            return
        self._report("validation", rows_N, logits_NK, unsafe_NK)
        if self.settings.calibrate:
            self._fit_temperatures(logits_NK, unsafe_NK)
            self._report_calibration("validation", unsafe_NK)
        states = dict(gather_lists(self, sorted(self._pooled.items())))
        self._pooled = {}
        self.featured = [place for place, row in enumerate(rows_N) if row in states]
        if self.featured:  # trainer.limit_val_batches may leave none
            self.features = torch.stack([states[rows_N[place]] for place in self.featured]).numpy()

    def on_test_epoch_end(self) -> None:
        """The whole report on the test split, with the calibration that validation found."""
        rows_N, logits_NK, unsafe_NK = self._collect()
        self._report("test", rows_N, logits_NK, unsafe_NK)
        if self.settings.calibrate:
            self._report_calibration("test", unsafe_NK)

    def _collect(self) -> tuple[list[int], Tensor, Tensor]:
        """Row numbers, logits and labels ``[N, K]`` in the source's order (batches are sorted by length).

        All rows of the split, but where ``trainer.limit_val_batches`` or ``limit_test_batches`` leaves some out.
        """
        judged = gather_lists(self, self._judged)
        self._judged = []
        rows_N, order_N = torch.tensor([row for rows, _, _ in judged for row in rows]).sort()
        logits_NK = torch.cat([logits_BK for _, logits_BK, _ in judged])[order_N]
        unsafe_NK = torch.cat([unsafe_BK for _, _, unsafe_BK in judged])[order_N]
        return rows_N.tolist(), logits_NK, unsafe_NK

    def _point_values(self, logits_NK: Tensor, unsafe_NK: Tensor) -> dict[str, float]:
        """Loss, and the mean over constraints of accuracy and AUROC: enough to choose a checkpoint."""
        probability_NK, truth_NK = logits_NK.sigmoid().double().numpy(), unsafe_NK.bool().numpy()
        columns = [classification_metrics(probability_NK[:, k], truth_NK[:, k]) for k in range(truth_NK.shape[1])]
        means = {f"validation/{name}": float(np.mean([c[name] for c in columns])) for name in ("accuracy", "auroc")}
        return {"validation/loss": float(semantic_cost_loss(logits_NK, unsafe_NK))} | means

    def _report(self, split: Split, rows_N: Sequence[int], logits_NK: Tensor, unsafe_NK: Tensor) -> None:
        self.probabilities[split] = logits_NK.sigmoid().double().numpy()
        self.logits[split] = (logits_NK * self.model.temperature_K.cpu()).double().numpy()
        train_rows = self.source.labelled("train") if self.settings.baseline else []
        labelled = self.source.labelled(split)
        judged = [labelled[row] for row in rows_N]
        report = cost_report(self.source.constraints, self.probabilities[split], judged, train_rows)
        report["loss"] = float(semantic_cost_loss(logits_NK, unsafe_NK))
        self.final_metrics |= of_split(split, report)
        self.log_dict({key: value for key, value in self.final_metrics.items() if key.startswith(f"{split}/")})

    def _report_calibration(self, split: Split, unsafe_NK: Tensor) -> None:
        """Calibration error of the head's own probabilities, and with the stored temperature."""
        for k, name in enumerate(self.source.constraints):
            area = split_area(split, name, self.source.constraints)
            truth_N, logit_N = unsafe_NK[:, k].bool().numpy(), self.logits[split][:, k]
            calibrated_N = expit(logit_N / float(self.model.temperature_K[k]))
            self.final_metrics[f"{area}/ece_uncalibrated"] = expected_calibration_error(expit(logit_N), truth_N)
            self.final_metrics[f"{area}/ece_calibrated"] = expected_calibration_error(calibrated_N, truth_N)

    def _fit_temperatures(self, logits_NK: Tensor, unsafe_NK: Tensor) -> None:
        """Divide logits by the temperature that suits the validation split; decisions and ranking stay."""
        truth_NK = unsafe_NK.bool().numpy()
        for k, name in enumerate(self.source.constraints):
            # Logits were made with the temperature so far: the new one multiplies it.
            factor = fit_temperature(logits_NK[:, k].double().numpy(), truth_NK[:, k])
            self.model.temperature_K[k] *= factor
            suffix = f"/{name}" if len(self.source.constraints) > 1 else ""
            self.final_metrics[f"cost/temperature{suffix}"] = float(self.model.temperature_K[k])

    def export(self, folder: Path) -> None:
        """Write the model, and beside it what it has seen (``stats/drift.py``)."""
        super().export(folder)
        if self.features is None:  # no validation run of its own, by which the features are known
            return
        try:
            train = self.source.labelled("train")
        except MissingRowsError:  # a source of pairs alone: the model is worth more than its reference
            return
        train = [train[row] for row in _chosen(train, MAX_LENGTHS)]
        prompt_words_N, response_words_N = words_of([row.prompt for row in train], [row.response for row in train])
        logits_NK = self.logits["validation"] / self.model.temperature_K.double().cpu().numpy()
        names = tuple(self.source.constraints)
        Reference(names, prompt_words_N, response_words_N, logits_NK[self.featured], self.features).save(folder)


def _chosen(rows: Sequence[LabelledRow], most: int) -> list[int]:
    """The numbers of at most so many rows, evenly spread, of a prompt each."""
    of_prompts = one_of_each([row.prompt for row in rows], [row.response for row in rows])
    return of_prompts[spread(len(of_prompts), most)].tolist()
