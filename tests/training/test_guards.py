"""Numbers that are not finite stop a run by name."""

from __future__ import annotations

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.training.step import require_finite


def test_finite_values_pass_through() -> None:
    value = torch.tensor([1.0, -2.0])
    assert require_finite("train/loss", value, 3) is value


@pytest.mark.parametrize(("value", "word"), [(torch.nan, "NaN"), (torch.inf, "infinite"), (-torch.inf, "infinite")])
def test_the_error_names_quantity_kind_and_step(value: float, word: str) -> None:
    with pytest.raises(UserError, match=f"train/loss is {word} at step 12: .*resume=true"):
        require_finite("train/loss", torch.tensor([0.0, value]), 12)
