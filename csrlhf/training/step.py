"""What the steps of several stages share: the loss on responses, the sum of a step's shares, the guard against NaN.

Legend: S tokens, N response tokens of the batch, V vocabulary.
"""

from __future__ import annotations

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from csrlhf.data.demonstrations import DemonstrationBatch
from csrlhf.errors import UserError
from csrlhf.training.ranks import mean_over_ranks

# A check is made on what every process sees alike (an average over all of them is not finite where one of them is not):
# a process that stopped alone would leave the others waiting for it.


def require_finite(name: str, value: Tensor, step: int) -> Tensor:
    """``value`` if every entry is finite.

    Raises:
        UserError: names the quantity and the step. The last checkpoint on disk is untouched: it was written
            before this step.
    """
    if not bool(torch.isfinite(value).all()):
        bad = "NaN" if bool(torch.isnan(value).any()) else "infinite"
        raise UserError(
            f"{name} is {bad} at step {step}: stopped, and the last good checkpoint is kept. Lower the learning "
            "rate or the gradient clip of this stage, check the data, then resume with resume=true"
        )
    return value


# The loss of an optimiser step, put together from its shares (processes, micro-batches), for log and guard.


class StepLoss:
    """Adds up weighted losses until the optimiser steps.

    Every process sees the same sum, so that all of them stop at a loss that is not finite: one that stopped alone would
    leave the others waiting for it.
    """

    def __init__(self, name: str = "train/loss") -> None:
        self.name = name
        self._losses: list[Tensor] = []

    def add(self, module: LightningModule, loss: Tensor, is_last: bool) -> None:
        """Take a share's weighted loss in (``Share.weight``); log the batch's mean after the last one.

        Raises:
            UserError: the mean is not finite.
        """
        self._losses.append(loss.detach())
        if not is_last:
            return
        mean = mean_over_ranks(module, sum(self._losses) / len(self._losses))  # type: ignore[arg-type]  # a tensor
        self._losses.clear()
        require_finite(self.name, mean, module.global_step)
        module.log(self.name, mean, prog_bar=True)


def response_loss(model: PreTrainedModel, batch: DemonstrationBatch) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy per response token, with gradients, and next-token accuracy; 0 where there is no token."""
    logits = model(input_ids=batch.input_ids_BS, attention_mask=batch.mask_BS.long(), use_cache=False).logits
    selected_BS = batch.response_mask_BS[:, 1:]
    logits_NV, target_N = logits[:, :-1][selected_BS], batch.input_ids_BS[:, 1:][selected_BS]
    if not len(target_N):  # all responses cut away: a mean over nothing is NaN
        return logits.sum() * 0.0, logits.new_zeros(())
    accuracy = (logits_NV.argmax(dim=-1) == target_N).float().mean()
    return F.cross_entropy(_wide(logits_NV), target_N), accuracy


def _wide(logits: Tensor) -> Tensor:
    """At least float32: a sum of exponentials in bfloat16 would be off."""
    return logits if logits.dtype == torch.float64 else logits.float()
