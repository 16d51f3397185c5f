"""CSV and JSON Lines as records: places, quotes, and what is no table. (JSON Lines' mistakes: test_jsonl.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.tables.text import read_csv, read_jsonl
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow

HEAD = "prompt,response,label\n"


def write(folder: Path, text: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_know_the_line_they_begin_in(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '"how,\nso?",yes.,Safe\n\nwhy?,no.,Unsafe\n')
    records = read_csv(path)
    assert [record.place for record in records] == [f"{path}:2", f"{path}:5"]
    assert records[0].fields == {"prompt": "how,\nso?", "response": "yes.", "label": "Safe"}


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfprompt,response\r\nhow?,so.\r\n")
    assert read_csv(path)[0].fields == {"prompt": "how?", "response": "so."}
    assert read_jsonl(write(tmp_path, b'\xef\xbb\xbf{"prompt": "how?"}\r\n', "x.jsonl"))[0].fields == {"prompt": "how?"}


def test_cells_may_be_long(tmp_path: Path) -> None:
    assert len(read_csv(write(tmp_path, HEAD + f"{'a' * 200_000},b,Safe\n"))[0].fields["prompt"]) == 200_000


def test_own_columns_in_csv(tmp_path: Path) -> None:
    data = JsonlData(str(write(tmp_path, HEAD + "how?,so.,safe\nwhy?,bad.,Unsafe\n")))
    assert data.labelled("train") == [LabelledRow("how?", "so.", (0.0,)), LabelledRow("why?", "bad.", (1.0,))]
    assert data.demonstrations("train") == [DemonstrationRow("how?", "so.")]


def test_numbers_truth_values_and_objects_are_read_out_of_texts(tmp_path: Path) -> None:
    columns = "prompt,response_0,response_1,better_response_id,is_response_0_safe,is_response_1_safe\n"
    data = JsonlData(str(write(tmp_path, columns + "how?,so.,no.,1,True,false\n")))
    assert data.preferences("train") == [PreferenceRow("how?", "no.", "so.")]
    assert [row.unsafe for row in data.labelled("train")] == [(0.0,), (1.0,)]
    margins = JsonlData(str(write(tmp_path, columns[:-1] + ",margin\nhow?,so.,no.,1,True,false,0.5\n")))
    assert margins.preferences("train") == [PreferenceRow("how?", "no.", "so.", 0.5)]
    several = HEAD + 'how?,so.,"{""harm"": ""Safe"", ""privacy"": ""Unsafe""}"\n'
    made = JsonlData(str(write(tmp_path, several)), constraints=["harm", "privacy"])
    assert made.labelled("train")[0].unsafe == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD + "how?,so.,Safe\nwhy?,so.\n", "x.csv:3: the row has 2 cells and the first line names 3 columns"),
        (HEAD + "how, much?,so.,Safe\n", "x.csv:2: the row has 4 cells"),
        (HEAD + 'how?,"so.,Safe\n', "x.csv:2: broken CSV (unexpected end of data)"),
        (HEAD + 'how?,"so".,Safe\n', "x.csv:2: broken CSV"),
        (HEAD + "how?,,Safe\n", "x.csv:2: the column response is missing or empty (columns: prompt, label)"),
        (HEAD + "how?,so.,\n", "x.csv holds no labelled responses: each line needs the columns"),
        (HEAD + "how?,so.,Safe\nwhy?,so.,\n", "x.csv:3: the column label is missing, other lines of the file have it"),
        (HEAD + "how?,so.,maybe\n", "x.csv:2: label is 'maybe'"),
        (HEAD + ",,\n", "x.csv:2: the column prompt is missing or empty"),
        (
            "prompt;response;label\nhow?;so.;Safe\n",
            "x.csv:2: the column prompt is missing or empty (columns: prompt;response;",
        ),
        ("prompt,prompt\nhow?,so.\n", "x.csv:1: the first line must name every column, each name once"),
        ("prompt,\nhow?,so.\n", "x.csv:1: the first line must name every column"),
        ("", "x.csv is empty: it needs a line with the column names"),
        (HEAD, "x.csv has no rows"),
        (HEAD.encode() + b"caf\xe9?,so.,Safe\n", "x.csv: byte 25 is not UTF-8"),
    ],
)
def test_a_mistake_in_csv_is_named_with_file_and_line(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        JsonlData(str(write(tmp_path, text))).labelled("train")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("how?,so.,no.,2", "better_response_id is '2': it must be 0 or 1"),
        ("how?,so.,no.,", "holds no preferences: each line needs the columns"),
    ],
)
def test_a_wrong_choice_in_csv(tmp_path: Path, row: str, complaint: str) -> None:
    path = write(tmp_path, f"prompt,response_0,response_1,better_response_id\n{row}\n")
    with pytest.raises(UserError) as caught:
        JsonlData(str(path)).preferences("train")
    assert complaint in str(caught.value)


def test_an_object_in_csv_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x.csv:2: label must be a list or an object as JSON: 'Safe'"):
        JsonlData(str(write(tmp_path, HEAD + "a,b,Safe\n")), constraints=["harm", "privacy"]).labelled("train")
