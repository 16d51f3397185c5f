"""Parquet files, ``datasets`` folders and sets on the Hub: the same rows as in JSON Lines, and what is none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.source import DataSource
from csrlhf.data.tables import contents
from csrlhf.errors import UserError
from csrlhf.types import LabelledRow, PreferenceRow, PromptRow

ROWS = [
    {"prompt": "how?", "response": "so.", "label": "Safe"},
    {"prompt": "why?", "response": "no.", "label": "unsafe"},
]
PAIR = {"prompt": "how?", "response_0": "so.", "response_1": "no.", "better_response_id": 1}
LABELLED = [LabelledRow("how?", "so.", (0.0,)), LabelledRow("why?", "no.", (1.0,))]


def parquet_file(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "x.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    datasets.Dataset.from_list(rows).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("write", [parquet_file, saved])
def test_rows_are_those_of_json_lines(tmp_path: Path, write: Any) -> None:
    data = JsonlData(str(write(tmp_path, ROWS)))
    assert data.labelled("train") == LABELLED
    assert isinstance(data, DataSource)
    (tmp_path / "pairs").mkdir()
    assert JsonlData(str(write(tmp_path / "pairs", [PAIR]))).preferences("train") == [
        PreferenceRow("how?", "no.", "so.")
    ]
    (tmp_path / "margins").mkdir()
    margins = JsonlData(str(write(tmp_path / "margins", [PAIR | {"margin": 0.5}, PAIR | {"margin": None}])))
    assert [row.margin for row in margins.preferences("train")] == [0.5, 0.0]  # an empty field is an absent column


@pytest.mark.parametrize("write", [parquet_file, saved])
def test_conversations_are_prompts(tmp_path: Path, write: Any) -> None:
    turns = [{"role": "user", "content": "hi"}]
    assert JsonlData(str(write(tmp_path, [{"prompt": turns}]))).prompts("train") == [PromptRow(tuple(turns))]


def test_several_shards_are_one_table(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    assert len(list((tmp_path / "saved").glob("*.arrow"))) == 2
    assert JsonlData(str(tmp_path / "saved")).labelled("train") == LABELLED


@pytest.mark.parametrize("write", [parquet_file, saved])
def test_a_mistake_is_named_with_file_and_row_and_null_is_an_absent_column(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path, [*ROWS, {"prompt": "who?", "response": None, "label": "Safe"}])
    with pytest.raises(UserError) as caught:
        JsonlData(str(path)).labelled("train")
    assert str(caught.value) == f"{path}, row 3: the column response is missing or empty (columns: prompt, label)"


def test_hashes_follow_the_contents(tmp_path: Path) -> None:
    path = saved(tmp_path, ROWS)
    before = JsonlData(str(path)).hashes()
    assert before == JsonlData(str(path)).hashes()
    (tmp_path / "other").mkdir()
    assert before != JsonlData(str(saved(tmp_path / "other", ROWS[:1]))).hashes()


@pytest.mark.parametrize("content", [b"", b"PAR1", b'{"prompt": "how?"}\n', b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_parquet_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x.parquet: is not a Parquet file, or is damaged"):
        JsonlData(str(path)).prompts("train")


def test_tables_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(UserError, match="has no rows"):
        JsonlData(str(path)).prompts("train")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a folder of the datasets library \(it has no state.json\)"):
        JsonlData(str(tmp_path)).prompts("train")
    splits = datasets.DatasetDict({name: datasets.Dataset.from_list(ROWS) for name in ("train", "test")})
    splits.save_to_disk(tmp_path / "both")
    with pytest.raises(UserError, match=r"holds the splits test, train: name one of them, .*both/<split>"):
        JsonlData(str(tmp_path / "both")).prompts("train")
    assert JsonlData(str(tmp_path / "both" / "test")).labelled("train") == LABELLED


@pytest.mark.parametrize(
    "state", ["{", "[]", '{"_data_files": [1]}', '{"_data_files": [{"filename": "../x"}]}', "\udcff"]
)
def test_a_folder_with_a_damaged_state(tmp_path: Path, state: str) -> None:
    path = saved(tmp_path, ROWS)
    (path / "state.json").write_bytes(state.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"state.json: is damaged: write the folder again"):
        JsonlData(str(path)).prompts("train")


def test_a_set_on_the_hub_is_read_through_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def load(name: str, *configuration: str, split: str) -> Any:
        asked.append((name, *configuration, split))
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        return datasets.Dataset.from_json(str(tmp_path / "x.jsonl"), cache_dir=str(tmp_path))

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = JsonlData("owner/name:train", test="owner/name/small:held_out")
    assert data.labelled("train") == data.labelled("test") == LABELLED
    assert asked == [("owner/name", "train"), ("owner/name", "small", "held_out")]
    assert len(data.hashes()["train"]) == 64


def test_the_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:  # tests run offline
        JsonlData("no-such-owner/no-such-name:train").prompts("train")
    assert str(caught.value).startswith("no-such-owner/no-such-name:train: cannot load it from the Hub or its cache (")
    assert "\n" not in str(caught.value)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    path = parquet_file(tmp_path, ROWS)
    monkeypatch.setattr(contents.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"needs the library pyarrow: pip install 'csrlhf\[data\]'"):
        JsonlData(str(path)).prompts("train")
