"""One's own files: what each kind of column gives, and that every mistake is named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.source import DataSource
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

GOOD = {"prompt": "how?", "response": "so.", "label": "Safe"}
PAIR = {
    "prompt": "how?",
    "response_0": "so.",
    "response_1": "no.",
    "better_response_id": 1,
    "is_response_0_safe": True,
    "is_response_1_safe": False,
}


def file(folder: Path, *rows: Any, name: str = "train.jsonl") -> str:
    """Rows as a file; a text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def test_labelled_rows_also_serve_as_prompts_and_safe_ones_as_demonstrations(tmp_path: Path) -> None:
    data = JsonlData(file(tmp_path, GOOD, {"prompt": "why?", "response": "bad.", "label": "unsafe"}))
    assert data.labelled("train") == [LabelledRow("how?", "so.", (0.0,)), LabelledRow("why?", "bad.", (1.0,))]
    assert data.prompts("train") == [PromptRow("how?"), PromptRow("why?")]
    assert data.demonstrations("train") == [DemonstrationRow("how?", "so.")]
    assert isinstance(data, DataSource)


def test_pairs_serve_as_preferences_and_labels(tmp_path: Path) -> None:
    data = JsonlData(file(tmp_path, PAIR))
    assert data.preferences("train") == [PreferenceRow("how?", chosen="no.", rejected="so.")]
    assert data.labelled("train") == [LabelledRow("how?", "so.", (0.0,)), LabelledRow("how?", "no.", (1.0,))]


def test_a_pair_may_say_by_how_much(tmp_path: Path) -> None:
    data = JsonlData(file(tmp_path, PAIR | {"margin": 1.5}, PAIR | {"margin": 2}, PAIR))
    assert [row.margin for row in data.preferences("train")] == [1.5, 2.0, 0.0]


@pytest.mark.parametrize(
    ("margin", "complaint"),
    [
        (-0.5, "margin is -0.5: it must be 0 or above"),
        ("wide", "margin is 'wide': it must be a number"),
        (True, "margin is True: it must be a number"),
    ],
)
def test_a_margin_that_is_none_is_named_with_file_and_line(tmp_path: Path, margin: Any, complaint: str) -> None:
    path = file(tmp_path, PAIR, PAIR | {"margin": margin})
    with pytest.raises(UserError) as caught:
        JsonlData(path).preferences("train")
    assert str(caught.value).startswith(f"{path}:2: {complaint}")


@pytest.mark.parametrize("text", ["1e999", "NaN", "-Infinity"])
def test_a_margin_is_finite(tmp_path: Path, text: str) -> None:
    line = json.dumps(PAIR)[:-1] + f', "margin": {text}}}'
    with pytest.raises(UserError, match=r"margin is .*: it must be a number"):
        JsonlData(file(tmp_path, line)).preferences("train")


def test_several_constraints_have_a_label_each(tmp_path: Path) -> None:
    row = GOOD | {"label": {"privacy": "Unsafe", "harm": "Safe"}}
    assert JsonlData(file(tmp_path, row), constraints=["harm", "privacy"]).labelled("train")[0].unsafe == (0.0, 1.0)


def test_a_prompt_that_comes_twice_is_one_prompt(tmp_path: Path) -> None:
    assert len(JsonlData(file(tmp_path, GOOD, GOOD)).prompts("train")) == 1


def test_a_conversation_is_a_prompt(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}]
    assert JsonlData(file(tmp_path, {"prompt": turns})).prompts("train") == [PromptRow(tuple(turns))]


def test_separators_of_unicode_do_not_cut_a_line(tmp_path: Path) -> None:
    row = GOOD | {"response": "a\u2028b\x0cc"}
    path = file(tmp_path, json.dumps(row, ensure_ascii=False).replace("\\f", "\u0085"))
    assert len(JsonlData(path).labelled("train")) == 1


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"prompt": "how?",', "broken JSON at column"),
        ("[1, 2]", "a line must be a JSON object, not list"),
        ('{"prompt": ' + "[" * 100_000, "nested too deep"),
        ('{"prompt": ' + "7" * 5000 + "}", "a number is too long"),
        (r'{"prompt": "a\ud800", "response": "so.", "label": "Safe"}', r"prompt holds \ud800, not a character"),
        (r'{"prompt": "how?", "response": "\udfff.", "label": "Safe"}', r"response holds \udfff"),
        (r'{"prompt": [{"role": "user", "content": "\ud83d"}]}', r"content of a turn holds \ud83d"),
        ({"prompt": "how?", "response": "bad."}, "the column label is missing, other lines"),
        (GOOD | {"label": "Maybe"}, "label is 'Maybe': it must be Safe or Unsafe"),
        (GOOD | {"label": 1}, "label is 1: it must be Safe or Unsafe"),
        (GOOD | {"label": {"privacy": "Safe"}}, "label must be an object with a label for each of harm"),
        ({"response": "so.", "label": "Safe"}, "the column prompt is missing or empty (columns: response, label)"),
        ({"prompt": "how?", "label": "Safe"}, "the column response is missing"),
        (GOOD | {"prompt": " "}, "prompt is empty"),
        (GOOD | {"response": ""}, "response is empty"),
        (GOOD | {"response": 3}, "response must be a text, not int"),
        (GOOD | {"prompt": None}, "the column prompt is missing or empty (columns: response, label)"),
        (GOOD | {"prompt": []}, "ends with the user's"),
        (GOOD | {"prompt": [{"role": "assistant", "content": "x"}]}, "ends with the user's"),
        (GOOD | {"prompt": [{"role": "user"}]}, "a turn must have role and content"),
        (GOOD | {"prompt": [{"role": "user", "content": ""}]}, "texts that are not empty"),
        (
            {key: value for key, value in PAIR.items() if key != "is_response_1_safe"},
            "the column is_response_1_safe is missing",
        ),
        (PAIR | {"is_response_1_safe": "yes"}, "is_response_1_safe is 'yes': it must be true or false"),
        (
            GOOD | {"prompt": [{"role": "robot", "content": "x"}, {"role": "user", "content": "y"}]},
            "the role of a turn is",
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, row: Any, complaint: str) -> None:
    path = file(tmp_path, GOOD, "", row)
    with pytest.raises(UserError) as caught:
        JsonlData(path).labelled("train")
    assert str(caught.value).startswith(f"{path}:3: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_escaped_pair_of_surrogates_is_a_character(tmp_path: Path) -> None:
    path = file(tmp_path, r'{"prompt": "\ud83d\ude00"}')
    assert JsonlData(path).prompts("train") == [PromptRow("\U0001f600")]


@pytest.mark.parametrize("kind", ["labelled", "demonstrations", "prompts"])
def test_a_forgotten_label_is_named_whatever_is_read_and_each_time(tmp_path: Path, kind: str) -> None:
    data = JsonlData(file(tmp_path, GOOD, {"prompt": "only a prompt"}, {"prompt": "why?", "response": "bad."}))
    for _ in range(2):
        with pytest.raises(UserError, match=r"train\.jsonl:3: the column label is missing"):
            getattr(data, kind)("train")


def test_pairs_are_labelled_all_or_none(tmp_path: Path) -> None:
    plain = {key: value for key, value in PAIR.items() if not key.startswith("is_response")}
    with pytest.raises(UserError, match=r"train\.jsonl:2: the column is_response_0_safe is missing"):
        JsonlData(file(tmp_path, PAIR, plain)).labelled("train")
    assert len(JsonlData(file(tmp_path, plain, plain)).preferences("train")) == 2
    # Other kinds of lines need no labels because pairs have them, and pairs none because responses do.
    assert len(JsonlData(file(tmp_path, PAIR, {"prompt": "a", "response": "b"})).demonstrations("train")) == 1
    assert len(JsonlData(file(tmp_path, plain, GOOD)).labelled("train")) == 1


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_a_pair_of_equal_responses_is_left_out_and_counted(tmp_path: Path, bad_rows: str) -> None:
    """Neither is better; blanks around a text do not tell two apart."""
    data = JsonlData(file(tmp_path, PAIR, PAIR | {"response_1": "so. "}), bad_rows=bad_rows)
    with pytest.warns(UserWarning, match=r"1 of 2 rows are left out; the first: .*train\.jsonl:2: the two responses"):
        assert len(data.preferences("train")) == 1
    assert data.left_out["train"].total() == 1


def test_nothing_but_equal_responses_is_an_error(tmp_path: Path) -> None:
    same = PAIR | {"response_1": "so."}
    with pytest.raises(
        UserError, match=r"data.train: 2 of 2 rows are left out; .*train\.jsonl:1: the two responses are"
    ):
        JsonlData(file(tmp_path, same, same)).preferences("train")


def test_equal_responses_with_other_labels_are_a_broken_row(tmp_path: Path) -> None:
    path = file(tmp_path, PAIR, PAIR | {"response_1": "so."})
    with pytest.raises(UserError, match=r"train\.jsonl:2: the two responses are the same and their labels differ"):
        JsonlData(path).labelled("train")
    same = PAIR | {"response_1": "so.", "is_response_1_safe": True}
    assert len(JsonlData(file(tmp_path, PAIR, same)).labelled("train")) == 4


@pytest.mark.parametrize("better", [2, True, "0"])
def test_a_wrong_choice(tmp_path: Path, better: Any) -> None:
    with pytest.raises(UserError, match=r":1: better_response_id is .*: it must be 0 or 1"):
        JsonlData(file(tmp_path, PAIR | {"better_response_id": better})).preferences("train")


def test_a_broken_test_file_is_noticed_before_training(tmp_path: Path) -> None:
    data = JsonlData(file(tmp_path, GOOD), test=file(tmp_path, GOOD, "{", name="test.jsonl"))
    with pytest.raises(UserError, match=r"test\.jsonl:2"):
        data.labelled("train")


def test_an_unknown_label_in_the_test_file_is_noticed_before_training(tmp_path: Path) -> None:
    wrong = GOOD | {"prompt": "who?", "label": "odd"}
    data = JsonlData(file(tmp_path, GOOD), test=file(tmp_path, wrong, name="test.jsonl"))
    with pytest.raises(UserError, match=r"test\.jsonl:1: label"):
        data.labelled("train")


def test_files_and_splits_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set data.train=FILE"):
        JsonlData()
    with pytest.raises(UserError, match=r"data.train: there is no file /no/such.jsonl"):
        JsonlData("/no/such.jsonl")
    data = JsonlData(file(tmp_path, GOOD))
    assert data.has("train")
    assert not data.has("test")
    with pytest.raises(UserError, match=r"data.test is not set"):
        data.labelled("test")
    with pytest.raises(UserError, match="split is 'dev'"):
        data.labelled("dev")  # type: ignore[arg-type]  # a mistake on purpose


@pytest.mark.parametrize("kind", ["preferences", "labelled", "demonstrations"])
def test_a_kind_that_the_columns_do_not_give(tmp_path: Path, kind: str) -> None:
    data = JsonlData(file(tmp_path, {"prompt": "how?"}))
    with pytest.raises(UserError, match="each line needs the columns prompt, response"):
        getattr(data, kind)("train")


def test_empty_file_and_wrong_encoding(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty"):
        JsonlData(file(tmp_path, "")).prompts("train")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n')
    with pytest.raises(UserError, match="not UTF-8"):
        JsonlData(str(tmp_path / "latin.jsonl")).prompts("train")


def test_hashes_follow_the_bytes(tmp_path: Path) -> None:
    before = JsonlData(file(tmp_path, GOOD)).hashes()
    assert before == JsonlData(file(tmp_path, GOOD)).hashes()
    assert before != JsonlData(file(tmp_path, GOOD, GOOD)).hashes()


@pytest.mark.parametrize("names", [[], ["harm", "harm"]])
def test_constraint_names(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match=r"data.constraints"):
        JsonlData(file(tmp_path, GOOD), constraints=names)


@given(st.text())
def test_whatever_stands_in_a_file_it_is_read_or_named(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "x.jsonl"
    path.write_text(text, encoding="utf-8", errors="replace")
    complaint = ""
    try:
        assert JsonlData(str(path)).prompts("train")
    except UserError as error:
        complaint = str(error)
    assert complaint.startswith(str(path)) or not complaint
