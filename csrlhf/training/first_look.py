"""An evaluation of the start, so that a curve shows where training came from."""

from __future__ import annotations

from lightning import Trainer
from lightning.pytorch.utilities.seed import isolate_rng


def evaluate_now(trainer: Trainer) -> None:
    """Run an evaluation at the start of training, as Lightning does at the end of an epoch.

    The global generators stay as they are, so that training draws what it would have drawn.
    """
    if not trainer.enable_validation:
        return
    with isolate_rng():
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
