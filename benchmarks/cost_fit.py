"""One fit of the cost model by the project's own module, data module and optimiser, without logs or checkpoints.

What it leaves out on purpose: choosing an epoch. The held-out fold may not choose anything, so the last epoch counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray

from csrlhf.data.labelled import LabelledDataModule
from csrlhf.data.source import Split
from csrlhf.errors import UserError
from csrlhf.models.score_spec import ScoreSpec
from csrlhf.modules.cost import CostModule
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow


class RowsInMemory:
    """A data source of labelled rows that are already there; the held-out fold is its validation split."""

    name = "rows"
    constraints: tuple[str, ...] = ("harm",)
    oracle = None

    def __init__(self, train: Sequence[LabelledRow], held_out: Sequence[LabelledRow]) -> None:
        self.rows: dict[Split, list[LabelledRow]] = {"train": list(train), "validation": list(held_out)}

    def labelled(self, split: Split) -> list[LabelledRow]:
        """The rows given."""
        return self.rows[split]

    def demonstrations(self, split: Split) -> list[DemonstrationRow]:
        """None."""
        raise UserError("labelled rows only")

    def preferences(self, split: Split) -> list[PreferenceRow]:
        """None."""
        raise UserError("labelled rows only")

    def prompts(self, split: Split) -> list[PromptRow]:
        """None."""
        raise UserError("labelled rows only")

    def hashes(self) -> dict[str, str]:
        """Nothing on disk."""
        return {}


def fit_and_predict(
    recipe: Mapping[str, Any],
    train: Sequence[LabelledRow],
    held_out: Sequence[LabelledRow],
    seed: int,
) -> NDArray[np.float64]:
    """Train on ``train``, return P(unsafe) of ``held_out`` in its order.

    Args:
        recipe: the resolved ``model.score`` and ``cost`` keys, as ``{"score": ..., "cost": ...}``.
        train: training rows.
        held_out: rows to judge, once, at the end.
        seed: of the head's weights, dropout and the order of batches.
    """
    score, cost = recipe["score"], recipe["cost"]
    lightning.seed_everything(seed, verbose=False)
    module = CostModule(
        ScoreSpec(score["backbone"], score["pooling"], score["max_tokens"], score["options"], score["rows_per_pass"]),
        cost["optimizer"],
        cost["schedule"],
        label_smoothing=cost["label_smoothing"],
        calibrate=False,
        baseline=False,
    )
    data = LabelledDataModule(
        RowsInMemory(train, held_out),
        module.tokenizer,
        cost["batch_size"],
        score["max_tokens"],
        seed,
        eval_batch_size=cost["eval_batch_size"],
        window=cost["window"],
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=cost["epochs"],
        max_steps=cost["max_steps"],
        gradient_clip_val=cost["gradient_clip"],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[instantiate(cost["averaging"])] if "averaging" in cost else None,
    )
    trainer.fit(module, data)
    judge = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    judge.validate(module, data, verbose=False)
    return module.probabilities["validation"][:, 0]
