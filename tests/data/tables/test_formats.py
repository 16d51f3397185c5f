"""The same rows from every format, compressed or not, in every encoding that says what it is."""

from __future__ import annotations

import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.tables import contents
from csrlhf.data.tables.readers import read_records
from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError

ROWS = [
    {"prompt": "how, so?", "response": 'He said "a\tb".\nYes.', "label": "Safe"},
    {"prompt": "whý?", "response": "no.", "label": "Unsafe"},
]


def quoted(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    lines = [list(rows[0]), *(row.values() for row in rows)]
    cells = [['"' + str(cell).replace('"', '""') + '"' for cell in line] for line in lines]
    return "".join(delimiter.join(line) + "\r\n" for line in cells).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


FORMATS = {
    "jsonl": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows).encode(),
    "json": lambda rows: json.dumps(rows, indent=1, ensure_ascii=False).encode(),
    "csv": lambda rows: quoted(rows, ","),
    "tsv": lambda rows: quoted(rows, "\t"),
    "parquet": as_parquet,
}
COMPRESSIONS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: pyarrow.compress(data, codec="zstd", asbytes=True),
}


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_compressed_or_not(tmp_path: Path, name: str, compression: str) -> None:
    path = write(tmp_path, f"x.{name}{compression}", COMPRESSIONS[compression](FORMATS[name](ROWS)))
    records = read_records(path)
    assert [record.fields for record in records] == ROWS
    assert all(record.place.startswith(path) for record in records)
    assert len(JsonlData(path).labelled("train")) == 2


@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "tsv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_to_read_the_file(tmp_path: Path, name: str, encoding: str) -> None:
    path = write(tmp_path, f"x.{name}", FORMATS[name](ROWS).decode().encode(encoding))
    assert [record.fields for record in read_records(path)] == ROWS


def test_utf_16_without_a_mark_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", FORMATS["csv"](ROWS).decode().encode("utf-16-le"))
    with pytest.raises(UserError, match=r"x.csv: looks like UTF-16 without a byte order mark: save the file as UTF-8"):
        read_records(path)
    broken = write(tmp_path, "y.csv", "é".encode("utf-16") + b"x")
    with pytest.raises(UserError, match=r"y.csv: byte 4 is not UTF-16: save the file as UTF-8"):
        read_records(broken)


@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, compression: str) -> None:
    whole = COMPRESSIONS[compression](FORMATS["jsonl"](ROWS) * 50)
    for data in (b"no archive", whole[: len(whole) // 2]):
        with pytest.raises(UserError, match=r"x.jsonl\.\w+: is not a \w+ file, or is damaged") as caught:
            read_records(write(tmp_path, f"x.jsonl{compression}", data))
        assert "\n" not in str(caught.value)


def test_zst_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(contents.importlib, "import_module", missing)
    path = write(tmp_path, "x.jsonl.zst", b"")
    with pytest.raises(UserError, match=r"x.jsonl.zst needs the library pyarrow: pip install 'csrlhf\[data\]'"):
        read_records(path)
    assert importlib is contents.importlib
    assert read_records(write(tmp_path, "x.jsonl.gz", gzip.compress(FORMATS["jsonl"](ROWS))))  # needs none


def test_items_of_an_array_have_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "x.json", b'[{"prompt": "a"}, {"prompt": ""}]')
    with pytest.raises(UserError, match=r"x.json, item 2: prompt is empty"):
        JsonlData(path).prompts("train")


def test_json_lines_may_be_called_json(tmp_path: Path) -> None:
    records = read_records(write(tmp_path, "x.json", FORMATS["jsonl"](ROWS)))
    assert [record.place[-2:] for record in records] == [":1", ":2"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "x.json is empty"),
        ("[]", "x.json is empty: it needs an array of JSON objects"),
        ('[{"prompt": "a"}, 3]', "x.json, item 2: an item of the array must be a JSON object, not int"),
        ('[{"prompt": "a"},\n {"prompt": }]', "x.json: broken JSON at line 2, column 13"),
        ('{\n"data": [{"prompt": "a"}]\n}', "x.json: holds one JSON value and no array: write [{...}, {...}]"),
        ('{"prompt": "a"}\n{"prompt"', "x.json:2: broken JSON at column"),
    ],
)
def test_what_is_no_array(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        read_records(write(tmp_path, "x.json", text.encode()))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl", b'{"prompt": "a", "response": null, "note": "n"}\n'),
        ("x.json", b'[{"prompt": "a", "response": null, "note": "n"}]'),
        ("x.csv", b"prompt,response,note\na,,n\n"),
        ("x.tsv", b"prompt\tresponse\tnote\na\t\tn\n"),
        ("x.parquet", as_parquet([{"prompt": "a", "response": None, "note": "n"}])),
    ],
)
def test_null_and_an_empty_cell_are_absent_columns(tmp_path: Path, name: str, data: bytes) -> None:
    (record,) = read_records(write(tmp_path, name, data))
    assert record.fields == {"prompt": "a", "note": "n"}
    assert not record.has("response")


def test_null_keys_inside_turns_are_absent() -> None:
    """Parquet and the Hub give every turn of a column all keys that one of them has."""
    turns = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "tool_calls": None}]
    plain = tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)
    assert Record("x:1", {"messages": turns}).messages("messages", last="assistant") == plain
    with pytest.raises(UserError, match=r"x:1: a turn must have role and content, nothing else"):
        Record("x:1", {"messages": [{"role": "user", "content": "a", "name": "Ann"}]}).messages("messages", last="user")
