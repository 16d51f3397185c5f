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
    assert (given.locations, given.shares) == ({"train": (file,)}, {"validation": 0.2})
    assert "validation" in given
    assert "test" not in given
    assert given.origin("train") == file
    assert given.origin("validation") == f"data.validation=0.2 of {file}"
    assert set(given.hashes()) == {"train"}


def test_several_files_are_one_table(file: str, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"prompt": "more?"}\n', encoding="utf-8")
    files = [file, str(tmp_path / "other.jsonl")]
    one, both = GivenSplits(file, None, None, split_seed=0), GivenSplits(files, 0.5, None, split_seed=0)
    assert len(both.read("train")) == len(one.read("train")) + 1
    assert both.origin("validation") == f"data.validation=0.5 of {files[0]}, {files[1]}"
    assert both.hashes() != one.hashes() == GivenSplits([file], None, None, split_seed=0).hashes()
    assert both.hashes() != GivenSplits(files[::-1], 0.5, None, split_seed=0).hashes()


@pytest.mark.parametrize("locations", [[], [3], ["same", "same"]])
def test_a_list_that_names_no_files_is_refused(locations: list) -> None:
    with pytest.raises(UserError, match=r"data\.train=.*: must be a file, or a list of different files"):
        GivenSplits(locations, None, None, split_seed=0)


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
