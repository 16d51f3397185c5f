"""One fit of the cost model by the project's own module, data module and optimiser, without logs or checkpoints.

With pairs it is a fit of the pairwise loss: one pass over them, so that the caller decides how many dialogues are seen.

What it leaves out on purpose: choosing an epoch. The held-out fold may not choose anything, so the last epoch counts.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedGroupKFold

from csrlhf.data.score_data import LabelledDataModule
from csrlhf.data.settings import CostLoss
from csrlhf.data.source import Split
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreSpec
from csrlhf.training.cost import CostModule
from csrlhf.training.settings import CostSettings, OptimizerSettings, ScheduleSettings
from csrlhf.types import CostPairRow, DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

# Folds in which near-duplicate prompts stay together: else a model is tested on what it has seen.
#
# Legend of suffixes: N rows.

NUM_FOLDS = 5
SIMILARITY = 0.7
"""Cosine of TF-IDF vectors of character 3- to 5-grams from which on two prompts count as near duplicates."""


def prompt_groups(prompts: Sequence[str]) -> NDArray[np.int64]:
    """A group number per prompt: groups are the connected components of "is a near duplicate of"."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectors = csr_matrix(vectorizer.fit_transform(prompts))
    similarity = (vectors @ vectors.T).tocoo()
    alike = similarity.data >= SIMILARITY
    edges = csr_matrix((similarity.data[alike], (similarity.row[alike], similarity.col[alike])), similarity.shape)
    return connected_components(edges, directed=False)[1].astype(np.int64)


def fold_numbers(groups_N: NDArray[np.int64], unsafe_N: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """The fold (0 to 4) of each row: groups stay whole, each fold gets about the same share of unsafe rows."""
    folds_N = np.empty(len(groups_N), dtype=np.int64)
    splitter = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(groups_N, unsafe_N, groups_N)):
        folds_N[held_out] = fold
    return folds_N


class RowsInMemory:
    """A data source of rows that are already there; the held-out fold is its validation split."""

    name = "rows"
    constraints: tuple[str, ...] = ("harm",)
    oracle = None

    def __init__(
        self, train: Sequence[LabelledRow], held_out: Sequence[LabelledRow], pairs: Sequence[CostPairRow] = ()
    ) -> None:
        self.rows: dict[Split, list[LabelledRow]] = {"train": list(train), "validation": list(held_out)}
        self.pairs = list(pairs)

    def labelled(self, split: Split) -> list[LabelledRow]:
        """The rows given."""
        return self.rows[split]

    def cost_pairs(self, split: Split) -> list[CostPairRow]:
        """The training pairs given."""
        return self.pairs if split == "train" else []

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


def prepare_torch(threads: int, matmul: str) -> None:
    """Set what all fits of a comparison share, and keep Lightning quiet.

    Args:
        threads: of a fit.
        matmul: ``bf16`` or ``ieee``: the precision of products of weights; all else stays float32.
    """
    torch.set_num_threads(threads)
    # torch has no type hints for it.
    torch.backends.mkldnn.matmul.fp32_precision = matmul  # pyright: ignore[reportAttributeAccessIssue]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def fit_and_predict(
    recipe: Mapping[str, Any],
    train: Sequence[LabelledRow],
    held_out: Sequence[LabelledRow],
    seed: int,
    pairs: Sequence[CostPairRow] = (),
) -> NDArray[np.float64]:
    """Train on ``train``, or on ``pairs`` where there are some; return P(unsafe) of ``held_out`` in its order.

    Args:
        recipe: the resolved ``model.score`` and ``cost`` keys, as ``{"score": ..., "cost": ...}``.
        train: training rows.
        held_out: rows to judge, once, at the end.
        seed: of the head's weights, dropout and the order of batches.
        pairs: trains the pairwise loss, each pair once, whatever the recipe's epochs.
    """
    score, cost = recipe["score"], recipe["cost"]
    lightning.seed_everything(seed, verbose=False)
    spec = ScoreSpec(**score)
    built = {
        "optimizer": OptimizerSettings(**cost["optimizer"]),
        "schedule": ScheduleSettings(**cost["schedule"]),
        "averaging": instantiate(cost.get("averaging")),
        "loss": CostLoss.pairwise if pairs else CostLoss.semantic,
        "calibrate": False,
        "baseline": False,
    }
    settings = CostSettings(**(cost | built))
    module = CostModule(spec, settings)
    rows = RowsInMemory(train, held_out, pairs)
    data = LabelledDataModule(rows, module.tokenizer, settings, spec.max_tokens, seed)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1 if pairs else settings.epochs,
        max_steps=settings.max_steps,
        gradient_clip_val=settings.gradient_clip,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=None if settings.averaging is None else [settings.averaging],
    )
    trainer.fit(module, data)
    judge = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    judge.validate(module, data, verbose=False)
    return module.probabilities["validation"][:, 0]
