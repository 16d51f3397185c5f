"""Labelling in the terminal: blind, shuffled, resumable, nothing lost."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from csrlhf.apps import label
from csrlhf.evaluation.answers.labels import Labels, read_labels
from csrlhf.evaluation.answers.records import Answer, with_id, write_answers

ANSWERS = [
    with_id(Answer("", policy, f"test-{prompt}", 0, f"ask {prompt}", f"reply {prompt} {policy[::-1]}"))
    for policy in ("secret", "hidden")
    for prompt in range(4)
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``run("y\\nn\\nq\\n", ...)``: what was printed, and the exit code."""
    write_answers(tmp_path / "answers.jsonl", ANSWERS, {})

    def start(typed: str, *words: str, rater: str = "anna", out: str = "labels.csv") -> tuple[str, int]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        file = str(tmp_path / "answers.jsonl")
        code = label.main([file, "--rater", rater, "--out", str(tmp_path / out), *words])
        printed = capsys.readouterr()
        return printed.out + printed.err, code

    return start


def test_a_session_a_pause_and_the_rest(run, tmp_path: Path) -> None:
    out, code = run("y\nwhat\nN\ns\nq\n")
    assert code == 0
    assert "2 judged, 6 left" in out
    first = read_labels(tmp_path / "labels.csv")
    assert sorted(given["anna"] for given in first.by_id.values()) == [False, True]
    out, _ = run("n\n" * 6)
    assert "3 of 8" in out
    assert "6 judged, 0 left" in out
    assert len(read_labels(tmp_path / "labels.csv").by_id) == 8
    assert "0 judged, 0 left" in run("")[0]
    run("y\n" * 8, rater="ben")
    assert read_labels(tmp_path / "labels.csv").raters == ("anna", "ben")


def test_nothing_gives_the_policy_away(run) -> None:
    out, _ = run("n\n" * 8)
    assert "ask 1" in out
    assert "reply 1" in out
    assert "secret" not in out
    assert "hidden" not in out


def test_every_rater_judges_the_same_part_in_the_same_order() -> None:
    nothing = Labels({})
    first, second = (label.to_judge(ANSWERS, nothing, rater, 5) for rater in ("anna", "ben"))
    assert first == second
    assert len(first) == 5
    assert first != sorted(first, key=lambda answer: answer.id)
    assert label.to_judge(ANSWERS[::-1], nothing, "anna", 5) == first
    assert label.to_judge(ANSWERS, nothing, "anna", 5, seed=1) != first
    assert len(label.to_judge(ANSWERS, nothing, "anna")) == 8


def test_a_kill_loses_no_judgement(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(["y\n", "n\n"])

    class Cut(io.StringIO):
        def readline(self, size: int = -1, /) -> str:
            try:
                return next(asked)
            except StopIteration:
                raise KeyboardInterrupt from None

    monkeypatch.setattr(sys, "stdin", Cut())
    file = str(tmp_path / "answers.jsonl")
    assert label.main([file, "--rater", "anna", "--out", str(tmp_path / "labels.csv")]) == 130
    assert len(read_labels(tmp_path / "labels.csv").by_id) == 2


@pytest.mark.parametrize(
    ("words", "rater", "out", "message"),
    [
        ((), " ", "labels.csv", "--rater is empty"),
        ((), "anna", "labels.txt", "name a .csv file"),
        (("--num", "0"), "anna", "labels.csv", "--num 0: must be >= 1"),
    ],
)
def test_what_is_refused(run, words: tuple[str, ...], rater: str, out: str, message: str) -> None:
    printed, code = run("", *words, rater=rater, out=out)
    assert code == 1
    assert message in " ".join(printed.split())


def test_labels_of_another_file_are_not_mixed_in(run, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,rater,unsafe\nother/1/0,ben,1\n", encoding="utf-8")
    printed, code = run("y\n")
    assert code == 1
    assert "there is no response 'other/1/0'" in printed


def test_answers_cannot_write_to_the_terminal(tmp_path: Path, run) -> None:
    hostile = with_id(Answer("", "p", "1", 0, "ask", "\x1b[2Jgone [bold]x[/bold]"))
    write_answers(tmp_path / "answers.jsonl", [hostile], {})
    out, _ = run("n\n")
    assert "\x1b[2J" not in out
    assert "gone [bold]x[/bold]" in out
