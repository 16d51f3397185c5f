"""Answers survive the file; broken files are named by line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.data.toy.prompts import FRAMINGS
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import (
    Answer,
    about_path,
    attack_of,
    read_about,
    read_answers,
    with_id,
    write_answers,
)

FIRST = Answer(
    id="ppo/test-3/0",
    policy="ppo",
    prompt_id="test-3",
    sample=0,
    prompt=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
    response="",
    ended=False,
    category="harmful",
    attack="multi_turn",
    reward=0.1 + 0.2,
    cost_logits={"harm": -1e-9},
    violations={"harm": 0.0},
    kl=-0.5,
    oracle={"unsafe": False, "helped": False, "refused": True, "kind": "refusal", "privacy": False},
    meta={"framing": "two_turn", "name": None},
)
SECOND = Answer("sft/test-3/0", "sft", "test-3", 0, "a b", "yes\u2028 \n é")


def test_a_round_trip_keeps_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    digest = write_answers(path, [FIRST, SECOND], {"policy": "abc"})
    assert read_answers(path) == [FIRST, SECOND]
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_about(path) == {"policy": "abc", "answers": 2, "sha256": digest, "edited": False}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["answers.about.json", "answers.jsonl"]


@given(
    response=st.text('a é\u2028\x85\n\t"{}\\'),
    reward=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    logits=st.dictionaries(st.text("abc", min_size=1), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_any_answer_survives(
    tmp_path_factory: pytest.TempPathFactory, response: str, reward: float | None, logits: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    answer = replace(SECOND, response=response, reward=reward, cost_logits=logits)
    write_answers(path, [answer], {})
    assert read_answers(path) == [answer]


def test_an_edited_file_is_told_from_the_written_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write_answers(path, [SECOND], {})
    path.write_text(path.read_text(encoding="utf-8").replace("yes", "no"), encoding="utf-8")
    assert read_about(path)["edited"]
    about_path(path).unlink()
    assert read_about(path).keys() == {"sha256"}


def test_a_prompt_as_text_and_as_messages() -> None:
    assert FIRST.text == "user: a\nassistant: b\nuser: c"
    assert FIRST.messages == tuple(FIRST.prompt)
    assert SECOND.text == SECOND.messages == "a b"
    assert with_id(replace(SECOND, sample=4)).id == "sft/test-3/4"


LINE = {"id": "p/1/0", "policy": "p", "prompt_id": "1", "prompt": "a", "response": "b"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "the column id is missing or empty"),
        ({"id": 3}, "id must be a text"),
        ({"response": 3}, "response must be a text, not int"),
        ({"response": "\ud800"}, "response holds \\ud800, not a character"),
        ({"sample": -1}, "sample is -1"),
        ({"sample": True}, "sample is True"),
        ({"reward": "high"}, "reward is 'high': it must be a number"),
        ({"reward": float("nan")}, "reward is nan: it must be a number"),
        ({"cost_logits": [1.0]}, "cost_logits must be an object, not list"),
        ({"cost_logits": {"harm": None}}, "cost_logits.harm is None"),
        ({"oracle": {"unsafe": 1}}, "oracle.unsafe is 1: it must be true or false"),
        ({"ended": "yes"}, "ended is 'yes': it must be true or false"),
        ({"verdict": True}, "unknown column verdict"),
        ({"category": ""}, "category is empty"),
        ({"prompt": []}, "a conversation as prompt must be"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{json.dumps({**LINE, 'id': 'p/1/1', **change})}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"answers\.jsonl:2: ") as caught:
        read_answers(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("column", ["id", "policy", "prompt_id", "prompt", "response"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({key: value for key, value in LINE.items() if key != column}), encoding="utf-8")
    with pytest.raises(UserError, match=f"answers.jsonl:1: the column {column} is missing"):
        read_answers(path)


def test_an_id_twice_names_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(LINE)}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r":3: the id 'p/1/0' occurs there and in .*:1"):
        read_answers(path)
    with pytest.raises(UserError, match="'sft/test-3/0'"):
        write_answers(path, [SECOND, SECOND], {})


def test_no_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: there is no such file"):
        read_answers(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"empty\.jsonl is empty"):
        read_answers(tmp_path / "empty.jsonl")


def test_a_score_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"response sft/test-3/0: reward=nan"):
        write_answers(tmp_path / "answers.jsonl", [replace(SECOND, reward=float("nan"))], {})
    assert not list(tmp_path.iterdir())


def test_every_framing_of_the_toy_world_is_an_attack() -> None:
    named = {attack_of({"framing": framing}) for framing in FRAMINGS}
    assert named == {
        "plain",
        "role_play",
        "fiction",
        "hypothetical",
        "override",
        "socratic",
        "obfuscation",
        "multi_turn",
    }
    assert attack_of({"framing": "two_turn", "attack": "mine"}) == "mine"
    assert attack_of({}) is None
