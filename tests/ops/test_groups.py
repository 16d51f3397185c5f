"""Groups of responses: which share a prompt, and what is summed over them."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.ops.advantages import Groups, centre, consecutive_groups, group_deviation, group_sums, leave_one_out

CPU = torch.device("cpu")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_shares_of_a_batch_have_the_groups_of_the_whole(per_group: int, prompts: int, ranks: int) -> None:
    whole = per_group * prompts * ranks
    share = whole // ranks
    parts = [consecutive_groups(rank * share, share, whole, per_group, CPU) for rank in range(ranks)]
    index = torch.cat([part.index_B for part in parts])
    assert torch.equal(index, consecutive_groups(0, whole, whole, per_group, CPU).index_B)
    assert {part.count for part in parts} == {prompts * ranks}
    assert index.bincount().tolist() == [per_group] * (prompts * ranks)


def test_sums_by_hand_and_of_a_group_that_is_elsewhere() -> None:
    groups = Groups(torch.tensor([0, 2, 2]), 3)
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert group_sums(values, groups).tolist() == [[1, 2], [0, 0], [8, 10]]
    assert group_sums(values[:, 0], groups, lambda sums: 2 * sums).tolist() == [2, 0, 16]


def test_leave_one_out_centre_and_deviation_by_hand() -> None:
    values, groups = torch.tensor([[1.0], [2.0], [6.0], [7.0]]), Groups(torch.tensor([0, 0, 0, 1]), 2)
    counted = torch.ones(4, dtype=torch.bool)
    assert leave_one_out(values, counted, groups)[:, 0].tolist() == [-3.0, -1.5, 4.5, 0.0]
    centred = centre(values, counted, groups)
    assert centred[:, 0].tolist() == [-2.0, -1.0, 3.0, 0.0]
    torch.testing.assert_close(
        group_deviation(centred[:, 0], counted, groups), torch.tensor([14 / 3] * 3 + [0.0]).sqrt()
    )


def test_what_is_not_counted_may_be_anything() -> None:
    values, groups = torch.tensor([[1.0], [torch.nan], [5.0]]), Groups(torch.zeros(3).long(), 1)
    counted = torch.tensor([True, False, True])
    assert leave_one_out(values, counted, groups)[:, 0].tolist() == [-4.0, 0.0, 4.0]
    assert centre(values, counted, groups)[:, 0].tolist() == [-2.0, 0.0, 2.0]
