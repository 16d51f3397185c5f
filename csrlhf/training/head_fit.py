"""The head of a cost model whose backbone is frozen (``model.score.tuning.method=frozen``): fitted once, exactly.

States of a frozen backbone are the same in every pass, so that one pass tells all there is to learn: its states are
kept, and at its end the head becomes the solution of a penalised logistic regression (``ops/logistic.py``). Until then
the optimiser moves the head as it always does, which is what ``train/loss`` shows. What comes out is an ordinary score
model: a backbone with a linear head.

Legend of suffixes: B rows of a batch, N rows of an epoch, H hidden size, K outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from csrlhf.data.settings import CostLoss
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreModel
from csrlhf.models.settings import Tuning, TuningMethod
from csrlhf.ops.logistic import fit_logistic
from csrlhf.training.ranks import gather_lists
from csrlhf.training.settings import CostSettings

RIDGE = 0.1
"""``cost.ridge`` where it is null."""


class HeadFit:
    """Keeps the states of an epoch and fits the head to them."""

    def __init__(self, settings: CostSettings) -> None:
        self._ridge = RIDGE if settings.ridge is None else settings.ridge
        self._smoothing = settings.label_smoothing
        self.kept: list[tuple[Tensor, Tensor]] = []

    def keep(self, features_BH: Tensor, unsafe_BK: Tensor) -> None:
        """Take a batch in."""
        self.kept.append((features_BH.detach().float().cpu(), unsafe_BK.cpu()))

    @torch.no_grad()
    def fit(self, module: LightningModule, model: ScoreModel) -> None:
        """Give the head its solution, the same on every process, and forget the states."""
        kept = gather_lists(module, self.kept)
        self.kept = []
        features_NH = torch.cat([features_BH for features_BH, _ in kept])
        unsafe_NK = torch.cat([unsafe_BK for _, unsafe_BK in kept]).double()
        target_NK = unsafe_NK * (1 - self._smoothing) + self._smoothing / 2
        weight_KH, bias_K = fit_logistic(features_NH, target_NK, self._ridge)
        model.head.weight.copy_(weight_KH * model.temperature_K.cpu().unsqueeze(1))
        model.head.bias.copy_(bias_K * model.temperature_K.cpu())


def head_fit(tuning: Tuning, head_bias: bool, settings: CostSettings) -> HeadFit | None:
    """What fits the head, or None where a gradient trains the backbone.

    Args:
        tuning: of the cost model.
        head_bias: ``model.score.head_bias``.
        settings: the group ``cost``.

    Raises:
        UserError: settings that would have no effect, or that ask for another loss.
    """
    if tuning.method != TuningMethod.frozen:
        if settings.ridge is not None:
            raise UserError(
                f"cost.ridge={settings.ridge}: is the penalty of a head on a frozen backbone; set "
                "model.score.tuning.method=frozen, or leave it null"
            )
        return None
    wanted: dict[str, tuple[Any, Any, str]] = {
        "cost.loss": (settings.loss, CostLoss.semantic, "the head is fitted to labels, not to pairs"),
        "cost.epochs": (settings.epochs, 1, "one pass tells all that a frozen backbone knows"),
        "cost.averaging": (settings.averaging, None, "the head is the solution, not a place on the way to it"),
        "model.score.head_bias": (head_bias, True, "the fit has one"),
    }
    for key, (given, needed, why) in wanted.items():
        if given != needed:
            words = {None: "null", True: "true"}.get(needed, needed) if isinstance(needed, bool | None) else needed
            raise UserError(f"{key}={given}: with model.score.tuning.method=frozen {why}; set {key}={words}")
    return HeadFit(settings)
