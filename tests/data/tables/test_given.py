"""Which table each split comes from, and what cannot be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.splits import GivenSplits
from csrlhf.errors import UserError

WORDS = ("apple", "bread", "cedar", "dough", "eagle", "flute", "grape", "hotel", "igloo", "jelly")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a"}\n', encoding="utf-8")
    return str(path)


def test_locations_and_shares(file: str) -> None:
    given = GivenSplits(file, 0.2, None, split_seed=0)
    assert (given.locations, given.shares) == ({"train": file}, {"validation": 0.2})
    assert "validation" in given
    assert "test" not in given
    assert given.origin("train") == file
    assert given.origin("validation") == f"data.validation=0.2 of {file}"
    assert set(given.hashes()) == {"train"}


def test_shares_are_taken_out_of_the_training_table(file: str) -> None:
    lines = [Line(Record(f"file:{i}", {}), f"what is {word} ?") for i, word in enumerate(WORDS)]
    other = [Line(Record("other:1", {}), "b")]
    parts = GivenSplits(file, 0.2, file, split_seed=0).share_out({"test": other, "train": lines})
    assert list(parts) == ["train", "validation", "test"]
    assert (len(parts["train"]), len(parts["validation"]), parts["test"]) == (8, 2, other)
    assert sorted(line.record.place for name in ("train", "validation") for line in parts[name]) == [
        line.record.place for line in lines
    ]


@pytest.mark.parametrize(
    ("validation", "message"),
    [(1.5, r"data\.validation=1\.5: a share of data\.train must lie"), (None, "data has no file: set data.train=FILE")],
)
def test_mistakes(validation: Any, message: str, file: str) -> None:
    with pytest.raises(UserError, match=message):
        GivenSplits(file if validation else None, validation, None, split_seed=0)
