"""The moving average: its value by hand, and that a later validation judges the weights it was given."""

from __future__ import annotations

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from csrlhf.errors import UserError
from csrlhf.tracking.averaging import MovingAverage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


class Counter(lightning.LightningModule):
    """Its weight is 1, 2, 3, 4 after steps 1 to 4."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append(self.weight.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fitted() -> tuple[lightning.Trainer, Counter, DataLoader]:
    module, loader = Counter(), DataLoader(torch.zeros(4, 1), batch_size=1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[MovingAverage(decay=0.5)],
    )
    trainer.fit(module, loader, loader)
    return trainer, module, loader


def test_validation_and_result_are_the_average() -> None:
    _, module, _ = fitted()
    # 1; then 0.5 * 1 + 0.5 * 2 = 1.5; 2.25; 3.125
    assert module.seen == [3.125]
    assert module.weight.item() == 3.125


def test_a_later_validation_judges_the_weights_it_was_given() -> None:
    trainer, module, loader = fitted()
    with torch.no_grad():
        module.weight.fill_(7.0)  # a checkpoint that was loaded
    trainer.validate(module, loader, verbose=False)
    assert module.seen[-1] == 7.0
    assert module.weight.item() == 7.0


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(UserError, match="averaging decay"):
        MovingAverage(decay)
