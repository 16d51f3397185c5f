"""Packing moves real tokens to the left and knows the way back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.models.score_model import pack, unpack


def test_both_sides_padded_by_hand() -> None:
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0]]).bool()
    index, packed_mask = pack(mask)
    assert packed_mask.tolist() == [[True, True, False], [True, True, True]]
    assert index[0, :2].tolist() == [1, 2]
    assert index[1].tolist() == [0, 1, 2]


def test_an_empty_row_does_not_give_an_empty_tensor() -> None:
    index, packed_mask = pack(torch.zeros(2, 3, dtype=torch.bool))
    assert index.shape == (2, 1)
    assert not packed_mask.any()


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_unpack_undoes_pack(rows: list[list[bool]]) -> None:
    mask = torch.tensor(rows)
    values = torch.arange(1, mask.numel() + 1, dtype=torch.float32).view(*mask.shape, 1)
    index, packed_mask = pack(mask)
    packed = values.gather(1, index.unsqueeze(-1))
    assert torch.equal(unpack(packed, index, packed_mask, mask.shape[1]), values * mask.unsqueeze(-1))
