"""Prompts in an order that is a pure function of (seed, iteration), shared out over ranks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning import LightningModule

from csrlhf.data.prompts import PromptDataModule, encode_batch
from csrlhf.data.settings import PromptSettings
from csrlhf.errors import UserError
from csrlhf.types import PromptBatch, PromptRow


@pytest.fixture
def make(tiny: ModuleType):
    def data(source: Any = None, split: str = "fit", **changes: Any) -> PromptDataModule:
        options: dict[str, Any] = {"batch_size": 5, "max_prompt_tokens": 16, "eval_every": 1} | changes
        others = {"eval_batch_size": 5} | {
            name: options.pop(name) for name in ("seed", "eval_batch_size") if name in options
        }
        module = PromptDataModule(source or tiny.Source(), tiny.tokenizer(), PromptSettings(**options), **others)
        module.setup(split)
        return module

    return data


def texts(*batches: PromptBatch) -> list[str]:
    return [str(row.prompt) for batch in batches for row in batch.rows]


class Reader(LightningModule):
    """Trains nothing; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[str]] = []

    def training_step(self, prompts: PromptBatch, batch_idx: int) -> None:
        self.seen.append(texts(prompts))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)


def test_a_batch_is_left_padded_with_its_indices(tiny: ModuleType) -> None:
    words = tiny.tokenizer()
    batch = encode_batch(words, [PromptRow("a"), PromptRow("b c")], [7, 9], 16)
    a, b, c = words.convert_tokens_to_ids(["a", "b", "c"])
    user, assistant = words.convert_tokens_to_ids(["<user>", "<assistant>"])
    assert batch.input_ids_BP.tolist() == [[words.pad_token_id, user, a, assistant], [user, b, c, assistant]]
    assert batch.prompt_mask_BP.tolist() == [[False, True, True, True], [True] * 4]
    assert batch.index_B.tolist() == [7, 9]


def test_the_order_is_a_pure_function_of_seed_and_iteration(make: Any) -> None:
    first, again, other = make(seed=1), make(seed=1), make(seed=2)
    again.batch(0)
    torch.rand(3)
    assert texts(first.batch(4)) == texts(again.batch(4))
    assert texts(first.batch(4)) != texts(other.batch(4))


def test_every_pass_has_every_prompt_once_and_passes_differ(make: Any, tiny: ModuleType) -> None:
    data = make(tiny.Source(size=10))
    passes = [sorted(texts(data.batch(2 * number), data.batch(2 * number + 1))) for number in range(2)]
    assert passes[0] == passes[1] == sorted(str(row.prompt) for row in data.rows["train"])
    assert texts(data.batch(0)) != texts(data.batch(2))


def test_a_batch_may_span_passes(make: Any, tiny: ModuleType) -> None:
    data = make(tiny.Source(size=3), batch_size=8)
    batch = texts(data.batch(0))
    assert sorted(batch[:3]) == sorted(batch[3:6]) == sorted(str(row.prompt) for row in data.rows["train"])


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_shares_of_the_ranks_make_the_whole(make: Any, num_ranks: int) -> None:
    data = make(batch_size=8)
    shares = [data.batch(3, rank, num_ranks) for rank in range(num_ranks)]
    assert texts(*shares) == texts(data.batch(3))
    assert torch.cat([share.index_B for share in shares]).tolist() == list(range(8))


def test_evaluation_chunks_cover_the_split_in_order(make: Any) -> None:
    data = make()
    batches = list(data.val_dataloader())
    assert [len(batch.rows) for batch in batches] == [5, 5, 2]
    assert texts(*batches) == [str(row.prompt) for row in data.rows["validation"]]
    assert torch.cat([batch.index_B for batch in batches]).tolist() == list(range(12))


def test_evaluation_rows_are_shared_out_over_ranks(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, index = make(eval_batch_size=4), []
    for rank in range(2):
        monkeypatch.setattr("csrlhf.data.prompts.ranks_of", lambda _, rank=rank: (rank, 2))
        index.append([batch.index_B.tolist() for batch in data.val_dataloader()])
    assert index == [[[0, 2, 4, 6], [8, 10]], [[1, 3, 5, 7], [9, 11]]]


def test_samples_of_a_prompt_follow_each_other_with_indices_of_their_own(make: Any) -> None:
    once, twice = make(batch_size=4), make(batch_size=4, samples_per_prompt=2)
    first, second, *_ = texts(once.batch(0))
    assert texts(twice.batch(0)) == [first, first, second, second]
    assert twice.batch(0).index_B.tolist() == [0, 1, 2, 3]
    assert texts(twice.batch(0), twice.batch(1))[::2] == texts(once.batch(0))
    with pytest.raises(UserError, match=r"ppo\.samples_per_prompt=3: must divide ppo\.batch_size=4"):
        make(batch_size=4, samples_per_prompt=3)


def test_num_validation_takes_some_from_everywhere(make: Any) -> None:
    few = [row.prompt for row in make(num_validation=3).rows["validation"]]
    every = [row.prompt for row in make().rows["validation"]]
    assert len(every) == 12
    assert few == [prompt for prompt in every if prompt in few]  # in the file's order, and no head of it
    assert few != every[:3]
    assert len(few) == 3


def test_test_split(make: Any) -> None:
    data = make(split="test")
    assert sum(len(batch.rows) for batch in data.test_dataloader()) == 12
    assert data.rows.keys() == {"test"}


def test_resuming_in_the_middle_gives_the_batches_that_come_next(make: Any, tiny: ModuleType, tmp_path: Path) -> None:
    def run(epochs: int, checkpoint: Path | None = None) -> tuple[Any, list[list[str]]]:
        reader = Reader()
        data = make(eval_every=2)
        trainer = tiny.fit(reader, data, tmp_path, epochs, checkpoint=checkpoint, limit_val_batches=0)
        return trainer, reader.seen

    _, whole = run(4)
    begun, first = run(2)
    begun.save_checkpoint(tmp_path / "half.ckpt")
    _, rest = run(4, tmp_path / "half.ckpt")
    assert first + rest == whole
    assert len(whole) == 8
    assert len({tuple(batch) for batch in whole}) > 4


def test_the_last_epoch_ends_at_the_last_iteration(make: Any, tiny: ModuleType, tmp_path: Path) -> None:
    reader = Reader()
    tiny.fit(reader, make(iterations=5, eval_every=2), tmp_path, 3, limit_val_batches=0)
    assert len(reader.seen) == 5


def test_an_over_long_prompt_is_an_error_that_names_it(make: Any) -> None:
    message = (
        r"5 tokens are more than ppo\.max_prompt_tokens=4 has room for \(it begins: 'c d e'\); 4 of 12 prompts "
        r"\(train\) are too long, up to 5 tokens: raise ppo\.max_prompt_tokens, or drop them"
    )
    with pytest.raises(UserError, match=message):
        make(max_prompt_tokens=4)


def test_a_batch_must_divide_over_the_processes(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()
    monkeypatch.setattr("csrlhf.data.prompts.ranks_of", lambda _: (0, 2))
    with pytest.raises(UserError, match=r"ppo\.batch_size=5 must be a multiple of the 2 processes"):
        data.train_dataloader()


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("batch_size", "ppo.batch_size"),
        ("iterations", "ppo.iterations"),
        ("eval_every", "ppo.eval_every"),
        ("num_validation", "ppo.num_validation"),
    ],
)
def test_out_of_range_names_the_key(make: Any, option: str, key: str) -> None:
    with pytest.raises(UserError, match=f"{key}=0: must be >= 1"):
        make(**{option: 0})
