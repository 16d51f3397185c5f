"""Transcripts: turns, the last response, pairs without a preference, and what is no transcript."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from csrlhf.data.public.hh_rlhf import HhRlhf, parse_transcript
from csrlhf.data.source import DataSource
from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, PreferenceRow, PromptRow

ONE = "\n\nHuman: How do I whistle?\n\nAssistant: "
TWO = "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: A joke?\n\nAssistant: "
TURNS = (
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "A joke?"},
)


def data(folder: Path, *rows: tuple[str, str] | dict[str, Any], **options: Any) -> HhRlhf:
    fields = [row if isinstance(row, dict) else {"chosen": row[0], "rejected": row[1]} for row in rows]
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fields), encoding="utf-8")
    return HhRlhf(train=str(folder / "x.jsonl"), **({"bad_rows": "error"} | options))


def test_the_last_turn_is_the_response_and_the_others_are_the_prompt(tmp_path: Path) -> None:
    source = data(tmp_path, (ONE + "Purse your lips.", ONE + "No."), (TWO + "Knock,\n\nknock.", TWO + "No."))
    assert isinstance(source, DataSource)
    assert source.preferences("train") == [
        PreferenceRow("How do I whistle?", "Purse your lips.", "No."),
        PreferenceRow(TURNS, "Knock,\n\nknock.", "No."),
    ]
    assert source.demonstrations("train") == [
        DemonstrationRow("How do I whistle?", "Purse your lips."),
        DemonstrationRow(TURNS, "Knock,\n\nknock."),
    ]
    assert source.prompts("train") == [PromptRow("How do I whistle?"), PromptRow(TURNS)]


def test_turns_of_one_speaker_in_a_row_are_one() -> None:
    record = Record("x:1", {"chosen": "\n\nHuman: Hi.\n\nHuman: Anyone?\n\nAssistant: Yes.\n\nAssistant: Here."})
    assert parse_transcript(record, "chosen") == (({"role": "user", "content": "Hi.\n\nAnyone?"},), "Yes.\n\nHere.")


@pytest.mark.parametrize(
    ("rejected", "reason"),
    [
        (ONE + "Purse your lips. ", "chosen and rejected are the same"),
        ("\n\nHuman: How do I sing?\n\nAssistant: No.", "chosen and rejected answer different conversations"),
    ],
)
def test_a_pair_without_a_preference_is_left_out_and_counted(tmp_path: Path, rejected: str, reason: str) -> None:
    source = data(tmp_path, (ONE + "Purse your lips.", rejected), (ONE + "So.", ONE + "No."))
    with pytest.warns(UserWarning, match=rf"data.train: 1 of 2 rows are left out; the first: .*x.jsonl:1: {reason}"):
        rows = source.preferences("train")
    assert [row.chosen for row in rows] == ["So."]
    assert source.left_out == {"train": {reason: 1}}


@pytest.mark.parametrize(
    ("transcript", "complaint"),
    [
        ("How do I whistle?", "chosen must be a transcript that begins with"),
        ("\n\nAssistant: Hello!", "chosen must be a transcript"),
        ("\n\nHuman: Hi.", "chosen must be a transcript"),
        ("\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Bye.", "chosen must be a transcript"),
        ("Note.\n\nHuman: Hi.\n\nAssistant: Hello.", "chosen must be a transcript"),
        ("\n\nHuman: Hi.\n\nAssistant:", "a turn of chosen is empty"),
        ("\n\nHuman: \n\nAssistant: Hello.", "a turn of chosen is empty"),
        ("", "chosen is empty"),
        (["Hi."], "chosen must be a text, not list"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, transcript: Any, complaint: str) -> None:
    source = data(tmp_path, (ONE + "So.", ONE + "No."), {"chosen": transcript, "rejected": ONE + "No."})
    with pytest.raises(UserError) as caught:
        source.prompts("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert complaint in str(caught.value)


def test_broken_rows_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    broken = {"chosen": ONE, "rejected": ONE + "No."}
    source = data(tmp_path, (ONE + "So.", ONE + "No."), broken, broken, bad_rows="skip")
    with pytest.warns(
        UserWarning, match=r"2 of 3 rows are left out; the first: .*x.jsonl:2: a turn of chosen is empty"
    ):
        assert len(source.preferences("train")) == 1
    assert source.left_out["train"].total() == 2


def test_all_rows_skipped_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 1 rows are left out; the first: .*x.jsonl:1: a turn of chosen is empty"):
        data(tmp_path, (ONE, ONE), bad_rows="skip").preferences("train")


def test_a_compressed_file_of_the_published_shape(tmp_path: Path) -> None:
    """As ``harmless-base/test.jsonl.gz``: transcripts of several turns, one of which ends with an empty turn."""
    rows = [(TWO + "Knock, knock.", TWO + "No."), (ONE, ONE + "No."), (ONE + "So.", ONE + "No.")]
    lines = "".join(json.dumps({"chosen": chosen, "rejected": rejected}) + "\n" for chosen, rejected in rows)
    path = tmp_path / "test.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    source = HhRlhf(str(path))
    with pytest.warns(
        UserWarning, match=r"1 of 3 rows are left out; the first: .*test.jsonl.gz:2: a turn of chosen is"
    ):
        assert [row.chosen for row in source.preferences("train")] == ["Knock, knock.", "So."]


def test_a_folder_of_the_set_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*names: str, **options: Any) -> Any:
        asked.append((names, options))
        return datasets.Dataset.from_list([{"chosen": ONE + "So.", "rejected": ONE + "No."}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(HhRlhf("Anthropic/hh-rlhf:train", data_dir="harmless-base").preferences("train")) == 1
    assert len(HhRlhf("Anthropic/hh-rlhf:train").preferences("train")) == 1
    names = ("Anthropic/hh-rlhf",)
    assert asked == [(names, {"split": "train", "data_dir": "harmless-base"}), (names, {"split": "train"})]


def test_a_folder_of_the_hub_means_nothing_for_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.data_dir=harmless-base: is a folder of a data set on the Hub, and no"):
        data(tmp_path, (ONE + "So.", ONE + "No."), data_dir="harmless-base")
