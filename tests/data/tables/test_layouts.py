"""Everybody's columns: conversations, completions, pairs, other names, other labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.public.beavertails import BeaverTails
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

HI, HELLO, JOKE, NO = (
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "A joke?"},
    {"role": "assistant", "content": "No."},
)
FROM = {"user": "human", "assistant": "gpt", "system": "system"}


def data(folder: Path, *rows: dict[str, Any], **options: Any) -> JsonlData:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return JsonlData(str(path), **options)


def sharegpt(*turns: dict[str, str]) -> list[dict[str, Any]]:
    return [{"from": FROM[turn["role"]], "value": turn["content"], "weight": None} for turn in turns]


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_of_a_conversation_the_last_answer_is_the_response(tmp_path: Path, column: str) -> None:
    system = {"role": "system", "content": "Be brief."}

    def row(*turns: dict[str, str]) -> dict[str, Any]:
        return {column: list(turns) if column == "messages" else sharegpt(*turns)}

    source = data(tmp_path, row(HI, HELLO, JOKE, NO), row(HI, HELLO), row(system, JOKE))
    with pytest.warns(UserWarning, match=r"1 of 3 rows are left out; .*x.jsonl:3: response is missing"):
        assert source.demonstrations("train") == [
            DemonstrationRow((HI, HELLO, JOKE), "No."),
            DemonstrationRow("Hi.", "Hello."),
        ]
    assert [row.prompt for row in source.prompts("train")] == [(HI, HELLO, JOKE), "Hi.", (system, JOKE)]


def test_conversations_with_a_label(tmp_path: Path) -> None:
    source = data(tmp_path, {"conversations": [HI, HELLO], "label": "harmful"})
    assert source.labelled("train") == [LabelledRow("Hi.", "Hello.", (1.0,))]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi.", "completion": "Hello."},
        {"prompt": [HI], "completion": [HELLO]},
        {"prompt": "Hi.", "messages": [HI, HELLO]},
    ],
)
def test_prompt_and_completion(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = data(tmp_path, row).demonstrations("train")
    assert found.response == "Hello."
    assert found.prompt in ("Hi.", (HI,))


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Hi.", "chosen": "Hello.", "rejected": "No."}, "Hi."),
        ({"prompt": [HI], "chosen": [HELLO], "rejected": [NO]}, (HI,)),
        ({"chosen": [HI, HELLO], "rejected": [HI, NO]}, "Hi."),
        ({"prompt": "Hi.", "chosen": [HI, HELLO], "rejected": [HI, NO], "messages": [HI, HELLO]}, "Hi."),
        ({"prompt": [HI, HELLO, JOKE], "chosen": "Hello.", "rejected": "No."}, (HI, HELLO, JOKE)),
    ],
)
def test_chosen_and_rejected(tmp_path: Path, row: dict[str, Any], prompt: Any) -> None:
    assert data(tmp_path, row).preferences("train") == [PreferenceRow(prompt, "Hello.", "No.")]


def test_a_pair_may_have_a_margin_and_says_nothing_where_the_answers_are_equal(tmp_path: Path) -> None:
    pair = {"prompt": "Hi.", "chosen": "Hello.", "rejected": "No.", "margin": 0.5}
    with pytest.warns(UserWarning, match=r"1 of 2 rows are left out; .*:2: the two responses are the same"):
        found = data(tmp_path, pair, pair | {"rejected": "Hello. "}).preferences("train")
    assert [row.margin for row in found] == [0.5]


def test_in_csv_turns_are_json_in_a_cell(tmp_path: Path) -> None:
    cells = ['"' + json.dumps(turns).replace('"', '""') + '"' for turns in ([HI, HELLO], [HI, NO])]
    (tmp_path / "x.csv").write_text(f"chosen,rejected\n{','.join(cells)}\n", encoding="utf-8")
    assert JsonlData(str(tmp_path / "x.csv")).preferences("train") == [PreferenceRow("Hi.", "Hello.", "No.")]
    (tmp_path / "y.csv").write_text(f"conversations\n{cells[0]}\n", encoding="utf-8")
    assert JsonlData(str(tmp_path / "y.csv")).demonstrations("train") == [DemonstrationRow("Hi.", "Hello.")]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            {"messages": [HELLO]},
            "the turns of messages before the last must be a list of turns that ends with the user's",
        ),
        ({"messages": "Hi."}, "messages must be a list of turns that ends with the assistant's"),
        ({"messages": [HI, HELLO | {"tool": "x"}]}, "a turn must have role and content, nothing else"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "a turn is from 'tool': it must be human, gpt or system"),
        ({"conversations": [{"from": "human", "value": None}]}, "a turn must have role and content"),
        (
            {"prompt": "a", "completion": [HI, HELLO]},
            "completion has 2 turns: it must be a text or the assistant's turn",
        ),
        ({"prompt": "a", "completion": [HI]}, "completion must be a list of turns that ends with the assistant's"),
        (
            {"chosen": "a", "rejected": "b"},
            "chosen and rejected need the column prompt beside them (data=hh_rlhf reads",
        ),
        ({"prompt": "a", "chosen": "b"}, "the column rejected is missing or empty"),
        ({"prompt": "a", "chosen": 3, "rejected": "b"}, "chosen must be a text, not int"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        data(tmp_path, {"prompt": "a"}, row).preferences("train")
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert complaint in str(caught.value)


def test_an_answer_in_csv_may_be_json_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('prompt,chosen,rejected\nA list?,"[{""a"": 1}]",[{]\n', encoding="utf-8")
    assert JsonlData(str(tmp_path / "x.csv")).preferences("train") == [PreferenceRow("A list?", '[{"a": 1}]', "[{]")]


def test_a_pair_about_two_prompts_is_left_out(tmp_path: Path) -> None:
    rows = {"chosen": [HI, HELLO], "rejected": [HI, NO]}, {"chosen": [HI, HELLO], "rejected": [JOKE, NO]}
    with pytest.warns(
        UserWarning, match=r"1 of 2 rows are left out; .*:2: chosen and rejected answer different prompts"
    ):
        assert len(data(tmp_path, *rows).preferences("train")) == 1


# Rows that lack what others have.


def test_a_row_without_a_response_among_others_is_counted(tmp_path: Path) -> None:
    source = data(tmp_path, {"prompt": "a", "response": "b"}, {"prompt": "c", "response": None})
    with pytest.warns(UserWarning, match=r"1 of 2 rows are left out; .*:2: response is missing or empty, other lines"):
        assert len(source.demonstrations("train")) == 1


def test_a_pair_without_a_better_response_among_others_is_counted(tmp_path: Path) -> None:
    pair = {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1}
    with pytest.warns(UserWarning, match=r"1 of 2 rows are left out; .*:2: better_response_id is missing or empty"):
        assert len(data(tmp_path, pair, pair | {"better_response_id": None}).preferences("train")) == 1


# Other names of columns.


def test_columns_have_other_names(tmp_path: Path) -> None:
    columns = {"prompt": "Behavior", "response": "generation"}
    source = data(tmp_path, {"Behavior": "a", "generation": "b", "prompt": "an id"}, columns=columns)
    assert source.demonstrations("train") == [DemonstrationRow("a", "b")]


def test_columns_of_a_public_set_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"q": "a", "response": "b", "is_safe": true, "category": {"theft": false}}\n', encoding="utf-8")
    assert BeaverTails(str(path), columns={"prompt": "q"}).prompts("train") == [PromptRow("a")]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"prompt": "Behaviour"}, r"data.columns.prompt=Behaviour: no row has such a column; there are Behavior, note"),
        (
            {"promt": "Behavior"},
            r"data.columns.promt: data=jsonl reads no column of this name; it reads prompt, response",
        ),
        ({"prompt": 3}, r"data.columns=.*: must name columns of the files by ours"),
        (["prompt"], r"data.columns=.*: must name columns of the files by ours"),
    ],
)
def test_a_wrong_name_is_refused(tmp_path: Path, columns: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        data(tmp_path, {"Behavior": "a", "note": "b"}, columns=columns).prompts("train")


def test_a_gap_names_both_names(tmp_path: Path) -> None:
    rows = {"Behavior": "a"}, {"Behavior": None, "note": "b"}
    with pytest.raises(UserError, match=r":2: the column prompt \(data.columns.prompt=Behavior\) is missing or empty"):
        data(tmp_path, *rows, columns={"prompt": "Behavior"}).prompts("train")


# Other labels.


@pytest.mark.parametrize(
    ("labels", "unsafe", "safe"),
    [
        (None, "harmful", "Unharmful"),
        (None, "UNSAFE", "harmless"),
        ({"unsafe": [1], "safe": [0]}, 1, 0),
        ({"unsafe": [1], "safe": [0]}, 1.0, "0"),
        ({"unsafe": [True], "safe": [False]}, True, "false"),
        ({"unsafe": ["1_full_compliance"], "safe": ["2_full_refusal"]}, "1_full_compliance", "2_full_refusal"),
        ({"unsafe": "bad", "safe": "good"}, "Bad", "good"),
    ],
)
def test_labels_in_other_words(tmp_path: Path, labels: Any, unsafe: Any, safe: Any) -> None:
    rows = [{"prompt": "a", "response": f"b {i}", "label": label} for i, label in enumerate((unsafe, safe))]
    source = data(tmp_path, *rows, labels=labels)
    assert [row.unsafe for row in source.labelled("train")] == [(1.0,), (0.0,)]
    assert [row.response for row in source.demonstrations("train")] == ["b 1"]


def test_labels_of_several_harms(tmp_path: Path) -> None:
    row = {"prompt": "a", "response": "b", "label": {"harm": 1, "privacy": 0}}
    source = data(tmp_path, row, labels={"unsafe": [1], "safe": [0]}, constraints=["harm", "privacy"])
    assert source.labelled("train")[0].unsafe == (1.0, 0.0)


def test_some_labels_are_left_out(tmp_path: Path) -> None:
    labels = {"unsafe": ["bad"], "safe": ["good"], "skip": ["unsure"]}
    rows = [{"prompt": "a", "response": f"{label}.", "label": label} for label in ("bad", "unsure", "good")]
    with pytest.warns(UserWarning, match=r"1 of 3 rows are left out; .*:2: label is 'unsure', which data.labels skips"):
        assert len(data(tmp_path, *rows, labels=labels).labelled("train")) == 2


@pytest.mark.parametrize("value", [0, 1, True, "yes", None, 2.5, ["bad"]])
def test_a_label_that_nobody_explained_is_an_error_that_names_the_key(tmp_path: Path, value: Any) -> None:
    """Numbers and truth values alone have no polarity."""
    rows = {"prompt": "a", "response": "b", "label": "Safe"}, {"prompt": "a", "response": "c", "label": value}
    message = r":2: the column label is missing" if value is None else r":2: label is .* data.labels=\{unsafe: "
    with pytest.raises(UserError, match=message):
        data(tmp_path, *rows).labelled("train")


@pytest.mark.parametrize("labels", [{"bad": [1]}, {}, [1], {"unsafe": [1], "safe": ["1"]}])
def test_labels_that_are_none(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(UserError, match=r"^data.labels"):
        data(tmp_path, {"prompt": "a"}, labels=labels)


@pytest.mark.parametrize("values", [(True, False), (1, 0), ("true", "False"), (1.0, "0")])
def test_is_safe_has_its_polarity_in_its_name(tmp_path: Path, values: tuple[Any, Any]) -> None:
    rows = ({"prompt": "a", "response": f"b {n}", "is_safe": safe} for n, safe in enumerate(values))
    source = data(tmp_path, *rows)
    assert [row.unsafe for row in source.labelled("train")] == [(0.0,), (1.0,)]
    assert [row.response for row in source.demonstrations("train")] == ["b 0"]


def test_is_safe_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r":1: is_safe is 'maybe': it must be true or false"):
        data(tmp_path, {"prompt": "a", "response": "b", "is_safe": "maybe"}).labelled("train")
    with pytest.raises(UserError, match=r":2: the column is_safe is missing, other lines of the file have it"):
        data(tmp_path, {"prompt": "a", "response": "b", "is_safe": True}, {"prompt": "a", "response": "c"}).labelled(
            "train"
        )
    with pytest.raises(UserError, match=r":1: is_safe is one label, data.constraints names several"):
        data(tmp_path, {"prompt": "a", "response": "b", "is_safe": True}, constraints=["x", "y"]).labelled("train")
