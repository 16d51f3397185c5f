"""``mean``: on probabilities and on logits."""

from __future__ import annotations

import pytest
import torch

from csrlhf.constraints import Mean
from csrlhf.errors import UserError


def test_probability_and_logit_by_hand() -> None:
    logits = torch.tensor([0.0, 3.0]).log1p().neg()  # log 1 = 0 and -log 4
    torch.testing.assert_close(Mean(0.5).sample_costs(logits), torch.tensor([0.5, 0.2]))
    assert Mean(-2.0, scale="logit")(torch.tensor([-3.0, 1.0])).value.item() == -1.0
    assert not Mean.is_rate


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 2.0])
def test_unreachable_probability_names_the_key(threshold: float) -> None:
    with pytest.raises(UserError, match=rf"constraints\.<name>\.threshold={threshold}"):
        Mean(threshold)


def test_unknown_scale_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"scale='percent': choose one of probability, logit"):
        Mean(0.5, scale="percent")


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_threshold_must_be_finite(threshold: float) -> None:
    with pytest.raises(UserError, match=rf"constraints\.<name>\.threshold={threshold}"):
        Mean(threshold, scale="logit")
