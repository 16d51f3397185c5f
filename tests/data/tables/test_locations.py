"""What is a file, what a folder and what a name on the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrlhf.data.tables.readers import check_location, is_hub_name
from csrlhf.errors import UserError


@pytest.mark.parametrize("name", ["owner/name:train", "PKU-Alignment/BeaverTails:30k_train", "a.b/c-d/small:test"])
def test_names_on_the_hub(name: str) -> None:
    assert is_hub_name(name)
    assert check_location("data.train", name) == name


@pytest.mark.parametrize(
    "name", ["train.jsonl", "owner/name", "data/train.jsonl", "/a/b:c", "a/b/c/d:train", "x:train"]
)
def test_no_names_on_the_hub(name: str) -> None:
    assert not is_hub_name(name)
    with pytest.raises(UserError, match=r"data.train: there is no file .* on the Hub is owner/name:split"):
        check_location("data.train", name)


def test_a_file_or_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name:train").mkdir()
    assert not is_hub_name("owner/name:train")
    assert check_location("data.train", "owner/name:train") == "owner/name:train"


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(
        UserError, match=r"data.test=.*x.xlsx: .* name a .jsonl, .json, .csv, .tsv, .parquet file, compressed"
    ):
        check_location("data.test", str(tmp_path / "x.xlsx"))
    (tmp_path / "X.JSONL").touch()
    assert check_location("data.test", str(tmp_path / "X.JSONL"))
    (tmp_path / "x.jsonl.gz").touch()
    assert check_location("data.test", str(tmp_path / "x.jsonl.gz"))
    (tmp_path / "x.gz").touch()
    with pytest.raises(UserError, match=r"data.test=.*x.gz: a file's extension tells its format"):
        check_location("data.test", str(tmp_path / "x.gz"))
