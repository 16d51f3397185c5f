"""Demonstrations as ids: where the loss is taken, what is cut, in which order."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from lightning import Trainer

from csrlhf.data.demonstrations import DemonstrationDataModule
from csrlhf.data.settings import DemonstrationSettings
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow


class Rows:
    """A source of given demonstrations."""

    def __init__(self, *rows: tuple[str, str]) -> None:
        self.rows = [DemonstrationRow(*row) for row in rows]

    def demonstrations(self, split: str) -> list[DemonstrationRow]:
        return self.rows


def make(tiny: ModuleType, source: Any, seed: int = 0, **options: Any) -> DemonstrationDataModule:
    sizes = {"batch_size": 4, "max_tokens": 16} | options
    data = DemonstrationDataModule(source, tiny.tokenizer(), DemonstrationSettings(**sizes), seed)
    data.setup("fit")
    return data


def test_a_batch_by_hand(tiny: ModuleType) -> None:
    batch = next(iter(make(tiny, Rows(("a", "yes"), ("b c", "no d"))).val_dataloader()))
    words = tiny.tokenizer()
    expected = ["<user> a <assistant> yes <eos> <pad> <pad>", "<user> b c <assistant> no d <eos>"]
    assert batch.input_ids_BS.tolist() == [words.convert_tokens_to_ids(row.split()) for row in expected]
    assert batch.mask_BS.sum(dim=1).tolist() == [5, 7]
    assert batch.response_mask_BS.tolist() == [[False] * 3 + [True, True, False, False], [False] * 4 + [True] * 3]


def test_a_pad_token_that_is_the_end_token_keeps_the_end_in_the_loss(tiny: ModuleType) -> None:
    data = DemonstrationDataModule(
        Rows(("a", "yes"), ("b c", "no d")), tiny.tokenizer(pad="<eos>"), DemonstrationSettings(2)
    )  # type: ignore[arg-type]
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch.response_mask_BS.sum(dim=1).tolist() == [2, 3]


def test_a_cut_response_gets_no_end_token(tiny: ModuleType) -> None:
    batch = next(iter(make(tiny, Rows(("a", "b c d e f g h")), max_tokens=8).val_dataloader()))
    assert tiny.tokenizer().decode(batch.input_ids_BS[0]) == "<user> a <assistant> b c d e f"


def test_an_over_long_prompt_is_an_error(tiny: ModuleType) -> None:
    with pytest.raises(UserError, match="a prompt has 8 tokens"):
        make(tiny, Rows(("a b c d e f", "yes")), max_tokens=8)


def test_order_depends_on_seed_and_every_row_comes_once(tiny: ModuleType) -> None:
    def order(seed: int) -> list[tuple[int, ...]]:
        data = make(tiny, tiny.Source(), seed=seed)
        torch.rand(2)
        return [tuple(row[row != 0].tolist()) for batch in data.train_dataloader() for row in batch.input_ids_BS]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(0)) == sorted(order(1))
    assert len(order(0)) == 12


def test_a_short_last_batch_is_dropped_in_training_only(tiny: ModuleType) -> None:
    data = make(tiny, tiny.Source(size=6))
    assert [len(batch.mask_BS) for batch in data.train_dataloader()] == [4]
    assert [len(batch.mask_BS) for batch in data.val_dataloader()] == [4, 2]
    assert [len(batch.mask_BS) for batch in make(tiny, tiny.Source(size=3)).train_dataloader()] == [3]


def test_out_of_range_names_the_key(tiny: ModuleType) -> None:
    with pytest.raises(UserError, match=r"sft\.batch_size=0"):
        make(tiny, tiny.Source(), batch_size=0)
    with pytest.raises(UserError, match=r"sft\.max_tokens=7"):
        make(tiny, tiny.Source(), max_tokens=7)


def test_no_epoch_is_refused_before_anything_is_read(tiny: ModuleType) -> None:
    data = DemonstrationDataModule(Rows(), tiny.tokenizer(), DemonstrationSettings())  # type: ignore[arg-type]
    data.trainer = Trainer(max_epochs=0, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match=r"sft\.epochs=0: must be >= 1"):
        data.setup("fit")
    assert not data.encoded
