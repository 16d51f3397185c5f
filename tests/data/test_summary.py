"""The summary of a small table, by hand, and how it looks."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.source import Kind
from csrlhf.data.summary import Ruler, Summary, print_summary, summarise
from csrlhf.terminal import plain_console

LONG = "Please tell me how to bake a large loaf of sourdough bread at home"
TRAIN = [
    {"prompt": "How?", "response": "one two", "label": "Safe"},
    {"prompt": "how", "response": "One two!", "label": "Safe"},  # the same after normalisation
    {"prompt": LONG, "response": "yes", "label": "Unsafe"},
    {"prompt": f"{LONG} now", "response": "no", "label": "Safe"},
]
VALIDATION = [
    {"prompt": "HOW", "response": "yes", "label": "Unsafe"},
    {"prompt": "Who?", "response": "a", "label": "Safe"},
]
PAIR = {"prompt": "Why?", "response_0": "a b", "response_1": "a b c d", "better_response_id": 1}


def words(kind: Kind, limit: int | None = 10) -> Ruler:
    def lengths(rows: Sequence[Any]) -> list[int]:
        return [len(row.prompt.split()) for row in rows]

    return Ruler(lengths, "tokens", limit, "sft.max_tokens")


def source(folder: Path, train: list[Any] = TRAIN, validation: list[Any] = VALIDATION, **options: Any) -> JsonlData:
    for name, rows in (("train", train), ("validation", validation)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return JsonlData(str(folder / "train.jsonl"), str(folder / "validation.jsonl"), **options)


def shown(summary: Summary, width: int = 80, **options: Any) -> str:
    file = io.StringIO()
    print_summary(summary, ("harm",), plain_console(file=file, width=width, **options))
    return file.getvalue()


def test_numbers_by_hand(tmp_path: Path) -> None:
    metrics = summarise(source(tmp_path), words, seed=0).metrics()
    expected = {
        "data/train/labelled/rows": 4,
        "data/train/labelled/prompts": 3,
        "data/train/labelled/repeated": 1,
        "data/train/labelled/near_duplicates": 2,
        "data/train/labelled/unsafe/harm": 0.25,
        "data/train/labelled/tokens_median": 7.5,  # of 1, 1, 14, 15
        "data/train/labelled/tokens_max": 15,
        "data/train/labelled/over_limit": 0.5,
        "data/validation/labelled/rows": 2,
        "data/validation/labelled/near_duplicates": 0,
        "data/validation/labelled/unsafe/harm": 0.5,
        "data/train/demonstrations/rows": 3,
        "data/validation/demonstrations/rows": 1,
        "data/train/prompts/rows": 4,
        "data/leaks/validation_in_train": 1,
    }
    assert {key: metrics[key] for key in expected} == expected
    assert not any("preferences" in key or "/test/" in key for key in metrics)


def test_without_a_tokenizer_lengths_are_words_and_have_no_limit(tmp_path: Path) -> None:
    ruler = Ruler(lambda rows: [3] * len(rows), "words")
    metrics = summarise(source(tmp_path), lambda kind: ruler, seed=0).metrics()
    assert metrics["data/train/labelled/words_p95"] == 3
    assert not any("over_limit" in key for key in metrics)


def test_rows_left_out_are_counted(tmp_path: Path) -> None:
    made = source(tmp_path, [*TRAIN, {"prompt": "", "response": "x", "label": "Safe"}], bad_rows="skip")
    with pytest.warns(UserWarning, match="1 of 5 rows are left out"):
        summary = summarise(made, words, seed=0)
    assert summary.metrics()["data/train/left_out"] == 1
    assert "left out of train: 1 x prompt is empty" in shown(summary)


def test_contradicting_rows_are_counted(tmp_path: Path) -> None:
    again = TRAIN[0] | {"label": "Unsafe"}  # against the first two rows
    swapped = PAIR | {"better_response_id": 0}
    summary = summarise(source(tmp_path, [*TRAIN, again, PAIR, PAIR, swapped]), words, seed=0)
    numbers = summary.metrics()
    assert numbers["data/train/labelled/contradicting"] == 3
    assert numbers["data/train/preferences/contradicting"] == 3
    assert numbers["data/validation/labelled/contradicting"] == 0
    text = shown(summary)
    assert "3 labelled responses (train) have the same texts and other labels" in text
    assert "3 preferences (train) have the same texts and other orders" in text


@pytest.mark.parametrize("seed", [0, 1])
def test_five_samples_of_all_kinds_in_turn(tmp_path: Path, seed: int) -> None:
    summary = summarise(source(tmp_path, [*TRAIN, *[PAIR | {"prompt": f"Why {i}?"} for i in range(9)]]), words, seed)
    names = [type(row).__name__ for row in summary.samples]
    assert names == ["DemonstrationRow", "PreferenceRow", "LabelledRow", "DemonstrationRow", "PreferenceRow"]
    assert len({repr(row) for row in summary.samples}) == 5


def test_prompts_alone_are_sampled_too(tmp_path: Path) -> None:
    summary = summarise(source(tmp_path, [{"prompt": f"Why {i}?"} for i in range(3)], [{"prompt": "a"}]), words, seed=0)
    assert sorted(row.prompt for row in summary.samples) == ["Why 0?", "Why 1?", "Why 2?"]


def test_what_is_shown_fits_80_columns_and_is_plain_without_a_terminal(tmp_path: Path) -> None:
    long = {"prompt": LONG * 5, "response": "[bold]yes[/bold] " * 40, "label": "Unsafe"}
    text = shown(summarise(source(tmp_path, [*TRAIN, PAIR, long]), words, seed=0))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    lengths = ("Length of labelled responses in tokens (train)", "longest 66", "are longer than sft.max_tokens=10")
    leak = "1 of 2 validation prompts are among the train prompts (1 equal, 0 nearly): 'HOW' ("
    text = " ".join(text.split())
    for piece in ("Rows by kind and split", "near-duplicate", *lengths, leak, "chosen a b c d", "Unsafe (harm)"):
        assert piece in text, piece


def test_a_terminal_gets_colours_unless_it_does_not_want_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summarise(source(tmp_path), words, seed=0)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[36m" in shown(summary, force_terminal=True, color_system="standard", _environ={})
    assert "\x1b[36m" not in shown(summary, force_terminal=True, _environ={"NO_COLOR": "1", "TERM": "xterm"})


def test_rows_of_one_length(tmp_path: Path) -> None:
    rows = [{"prompt": word} for word in ("how", "why", "who")]
    assert "1 to 1 " in shown(summarise(source(tmp_path, rows, rows[:1]), words, seed=0))
