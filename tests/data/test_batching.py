"""The order of batches is a pure function of (seed, epoch); shares lose no row and weigh what they hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import SequentialSampler

from csrlhf.data.batching import (
    Share,
    SharedBatches,
    batch_loader,
    check_shares,
    evaluation_batches,
    shares,
    training_batches,
    training_loader,
)
from csrlhf.errors import UserError


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 7), st.integers(0, 3), st.integers(1, 4))
def test_an_epoch_has_every_row_once(lengths: list[int], batch_size: int, epoch: int, window: int) -> None:
    batches = training_batches(lengths, batch_size, seed=0, epoch=epoch, window=window)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    lengths = list(range(40))
    first = training_batches(lengths, 4, seed=1, epoch=0, window=2)
    torch.manual_seed(123)
    assert training_batches(lengths, 4, seed=1, epoch=0, window=2) == first
    assert training_batches(lengths, 4, seed=1, epoch=1, window=2) != first
    assert training_batches(lengths, 4, seed=2, epoch=0, window=2) != first


def test_a_window_pads_less() -> None:
    lengths = [1, 100] * 32

    def padded_tokens(window: int) -> int:
        return sum(
            len(batch) * max(lengths[row] for row in batch) for batch in training_batches(lengths, 4, 0, 0, window)
        )

    assert padded_tokens(16) == sum(lengths)  # a window over all rows: no batch mixes the two lengths
    assert padded_tokens(1) > 1.5 * sum(lengths)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True), st.integers(1, 4), st.integers(1, 4))
def test_shares_make_the_whole_batch(batch: list[int], num_ranks: int, accumulate: int) -> None:
    found = [share for rank in range(num_ranks) for share in shares(batch, rank, num_ranks, accumulate)]
    assert sorted(row for share in found for row in share.rows[: share.counted]) == sorted(batch)
    assert len(found) == num_ranks * accumulate
    assert all(share.rows and share.batch == tuple(batch) for share in found)
    assert [share.is_last for share in found] == ([False] * (accumulate - 1) + [True]) * num_ranks


def test_an_average_of_weighted_means_is_the_mean_of_the_batch() -> None:
    """Three rows over two processes and two micro-batches: one share only fills up. Worth 1, 2 and 6 tokens."""
    losses, tokens = {0: 5.0, 1: 4.0, 2: 1.0}, {0: 1, 1: 2, 2: 6}

    def mean(share: Share) -> float:
        return sum(losses[row] * tokens[row] for row in share.rows) / sum(tokens[row] for row in share.rows)

    found = [share for rank in range(2) for share in shares([0, 1, 2], rank, 2, 2)]
    assert [share.rows for share in found] == [(0,), (2,), (1,), (0,)]
    weighted = [share.weight(tokens.__getitem__) * mean(share) for share in found]
    assert sum(weighted) / 4 == pytest.approx((5 + 8 + 6) / 9)
    assert [share.weight() for share in found] == pytest.approx([4 / 3, 4 / 3, 4 / 3, 0.0])


def test_one_process_with_whole_batches_weighs_one() -> None:
    assert [share.weight() for share in shares([3, 1], 0, 1, 1)] == [1.0]


def test_a_sampler_goes_through_the_batches_in_order() -> None:
    sampler = SharedBatches(lambda epoch: [[0, 1, 2, 3], [4, 5]], rank=1, num_ranks=2, accumulate=2)
    assert [share.rows for share in sampler] == [(1,), (3,), (5,), (4,)]
    assert [share.counted for share in sampler] == [1, 1, 1, 0]
    assert len(sampler) == 4


def test_more_parts_than_rows_name_the_keys() -> None:
    check_shares("cost", 4, 2, 2)
    with pytest.raises(UserError, match=r"cost\.batch_size=3: fewer rows than 2 processes x cost\.accumulate=2"):
        check_shares("cost", 3, 2, 2)


def test_evaluation_goes_from_short_to_long() -> None:
    assert evaluation_batches([5, 1, 3], 2) == [[1, 2], [0]]
    assert [evaluation_batches([5, 1, 3], 2, rank, 2) for rank in range(2)] == [[[1, 0]], [[2]]]


def test_a_process_without_a_row_to_judge_is_refused() -> None:
    with pytest.raises(UserError, match="1 rows to evaluate on 2 processes"):
        evaluation_batches([5], 2, 0, 2)


def test_a_loader_yields_what_collate_makes_of_each_batch() -> None:
    loader = batch_loader(lambda rows: {"sum": torch.tensor(sum(rows))}, [[0, 1], [5]])
    assert [batch["sum"].item() for batch in loader] == [1, 5]


def test_every_epoch_is_the_first_where_a_batch_is_overfitted() -> None:
    def first(**trainer: Any) -> list[int]:
        state = SimpleNamespace(global_rank=0, world_size=1, current_epoch=3, **trainer)
        loader = training_loader(lambda share: list(share.rows), lambda epoch: [[epoch], [9]], state, 1)
        assert isinstance(loader.sampler, SequentialSampler) == bool(trainer["overfit_batches"])
        return next(iter(loader))

    assert first(overfit_batches=0.0) == [3]
    assert first(overfit_batches=1) == [0]


def test_an_iterator_follows_the_epoch_that_is_named_after_it_was_asked_for() -> None:
    """As in a resumed run: Lightning makes the iterator first and calls ``set_epoch`` then."""
    sampler = SharedBatches(lambda epoch: training_batches(range(1, 21), 4, 0, epoch, 1))
    batches = iter(sampler)
    sampler.set_epoch(3)
    assert [list(share.rows) for share in batches] == training_batches(range(1, 21), 4, 0, 3, 1)
