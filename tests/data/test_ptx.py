"""The demonstrations beside PPO: which rows a minibatch has, how processes share them, what a source must have."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.data.demonstrations import DemonstrationDataModule, PTXData
from csrlhf.data.settings import DemonstrationSettings
from csrlhf.data.source import MissingRowsError
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow


def make(tiny: ModuleType, source: Any = None, **options: Any) -> PTXData:
    return PTXData(
        source or tiny.Source(), tiny.tokenizer(), **({"batch_size": 5, "max_tokens": 16, "seed": 0} | options)
    )


def test_rows_are_encoded_as_the_sft_stage_encodes_them(tiny: ModuleType) -> None:
    data = DemonstrationDataModule(tiny.Source(), tiny.tokenizer(), DemonstrationSettings(4, max_tokens=9))
    data.setup("fit")
    assert make(tiny, max_tokens=9).rows == data.encoded["train"]


def test_a_minibatch_is_a_pure_function_of_seed_and_place(tiny: ModuleType) -> None:
    first, second = make(tiny), make(tiny)
    places = [7, 0, 30, 7]
    drawn = [first.minibatch(place) for place in places]
    assert drawn[0] == drawn[3]
    assert drawn == [second.minibatch(place) for place in reversed(places)][::-1]
    assert drawn[0] != make(tiny, seed=1).minibatch(7)


def test_every_row_comes_once_in_each_pass_and_the_orders_differ(tiny: ModuleType) -> None:
    data = make(tiny)  # twelve rows, five at a time: twelve minibatches are five passes
    drawn = [row for place in range(12) for row in data.minibatch(place)]
    passes = [tuple(drawn[start : start + 12]) for start in range(0, 60, 12)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len(set(passes)) == 5


def test_a_minibatch_may_be_larger_than_the_data(tiny: ModuleType) -> None:
    drawn = make(tiny, batch_size=30).minibatch(0)
    assert sorted(drawn[:12]) == sorted(drawn[12:24]) == list(range(12))


@pytest.mark.parametrize(("num_ranks", "accumulate"), [(1, 1), (1, 3), (2, 1), (2, 2), (4, 2)])
def test_the_parts_average_to_the_whole(tiny: ModuleType, num_ranks: int, accumulate: int) -> None:
    """Of any loss per token, here its id; more parts than rows leave some that count nothing."""

    def mean(num_ranks: int, accumulate: int) -> float:
        parts = [
            float(batch.input_ids_BS[batch.response_mask_BS].double().mean()) * batch.weight
            for rank in range(num_ranks)
            for batch in make(tiny).micro_batches(2, rank, num_ranks, accumulate)
        ]
        assert len(parts) == num_ranks * accumulate
        return sum(parts) / len(parts)

    whole = make(tiny)
    tokens = torch.tensor([token for row in whole.minibatch(2) for token in whole.rows[row][1]])
    assert mean(num_ranks, accumulate) == pytest.approx(float(tokens.double().mean()))


class Without:
    def demonstrations(self, split: str) -> list[DemonstrationRow]:
        raise MissingRowsError("data.train has no column response")


class Empty:
    def demonstrations(self, split: str) -> list[DemonstrationRow]:
        return []


def test_a_source_without_demonstrations_names_the_key(tiny: ModuleType) -> None:
    with pytest.raises(UserError, match=r"^ppo\.ptx_coef: .*data\.train has no column response.*set ppo\.ptx_coef=0"):
        make(tiny, Without())
    with pytest.raises(UserError, match=r"^ppo\.ptx_coef: .*the training split has none"):
        make(tiny, Empty())
