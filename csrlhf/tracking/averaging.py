"""A moving average of the weights: what is validated and saved in place of the last step's weights.

On a small data set the last steps scatter around a better point than any of them; their average is close to it.
"""

from __future__ import annotations

import warnings

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from csrlhf.errors import UserError


class MovingAverage(WeightAveraging):
    """Exponential moving average of all parameters, one update per optimiser step.

    Args:
        decay: share of the old average in each update, in (0, 1); the average reaches back about
            ``1 / (1 - decay)`` steps.

    Raises:
        UserError: ``decay`` is out of its range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise UserError(f"averaging decay={decay}: must be in (0, 1)")
        # Buffers are counts and constants here: they are copied, not averaged.
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        with warnings.catch_warnings():
            # Lightning warns of memory where weights are made in configure_model; these models are not sharded.
            warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback")
            super().setup(trainer, pl_module, stage)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        # Else a validation run after training would swap the last average in for the weights it was given.
        self._average_model = None
