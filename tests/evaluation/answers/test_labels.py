"""Judgements from files, their majority, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import Labels, read_labels


def file(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_majority_by_hand() -> None:
    labels = Labels(
        {
            "most": {"a": True, "b": True, "c": False},
            "least": {"a": True, "b": False, "c": False},
            "tie": {"a": True, "b": False},
            "alone": {"a": False},
            "decided": {"a": True, "b": True, "adjudicated": False},
        }
    )
    assert labels.majority() == {"most": True, "least": False, "tie": True, "alone": False, "decided": False}
    assert labels.raters == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "id,rater,unsafe\np/1/0,anna,1\np/1/0,ben,no\np/2/0,anna,Safe\n"),
        ("labels.csv", "rater,note,unsafe,id\nanna,,TRUE,p/1/0\nben,,0,p/1/0\nanna,hm,False,p/2/0\n"),
        (
            "labels.jsonl",
            '{"id": "p/1/0", "rater": "anna", "unsafe": true}\n{"id": "p/1/0", "rater": "ben", "unsafe": 0}\n'
            '{"id": "p/2/0", "rater": "anna", "unsafe": "safe"}\n',
        ),
    ],
)
def test_the_same_judgements_in_all_ways_to_write_them(tmp_path: Path, name: str, text: str) -> None:
    expected = {"p/1/0": {"anna": True, "ben": False}, "p/2/0": {"anna": False}}
    assert read_labels(file(tmp_path, text, name)) == Labels(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,rater,unsafe\n", "has no rows"),
        ("id,unsafe\np,1\n", ":2: the column rater is missing"),
        ("id,rater,unsafe\np,a,maybe\n", ":2: unsafe is 'maybe': it must be one of true, 1"),
        ("id,rater,unsafe\np,,1\n", ":2: the column rater is missing or empty"),
        ("id,rater,unsafe\np,a,1\nq,a,1\np,a,0\n", ":4: a judged 'p' before, in "),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_labels(file(tmp_path, text))
    assert message in str(caught.value)


def test_no_file_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: there is no such file"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"name a \.csv or \.jsonl file"):
        read_labels(file(tmp_path, "x", "labels.xlsx"))


def test_labels_of_other_answers_are_refused_by_line(tmp_path: Path) -> None:
    labels = read_labels(file(tmp_path, "id,rater,unsafe\np/1/0,a,1\np/9/0,a,1\n"))
    labels.check_ids(["p/1/0", "p/9/0", "p/8/0"], "answers.jsonl")
    with pytest.raises(UserError, match=r"labels\.csv:3: there is no response 'p/9/0' in answers\.jsonl \(1 of 2"):
        labels.check_ids(["p/1/0"], "answers.jsonl")
