"""Pooling by hand, on two rows of which the second is shorter."""

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.models.score_model import get_pooling

HIDDEN = torch.tensor([[[1.0], [2.0], [6.0]], [[4.0], [8.0], [100.0]]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("last", [6.0, 8.0]),
        ("mean", [3.0, 6.0]),
        ("weighted", [23 / 6, 20 / 3]),  # (1*1 + 2*2 + 3*6) / 6 and (1*4 + 2*8) / 3
        ("cls", [1.0, 4.0]),
    ],
)
def test_padding_is_never_read(name: str, expected: list[float]) -> None:
    assert get_pooling(name)(HIDDEN, MASK).squeeze(1).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["last", "mean", "weighted", "cls"])
def test_a_row_without_tokens_is_finite(name: str) -> None:
    assert torch.isfinite(get_pooling(name)(HIDDEN, torch.zeros_like(MASK))).all()


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"model.score.pooling='max'.*last, mean, weighted, cls"):
        get_pooling("max")
