"""Answers kept while they are computed: whole batches count, and what was cut off or is another's is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.journal import Journal, kept_or_fresh
from csrlhf.evaluation.answers.records import Answer

ABOUT = {"seed": 0, "policies": {"ppo": "1a2b"}}
Make = Callable[..., Answer]


def test_what_was_kept_comes_back_to_the_digit(answer: Make, tmp_path: Path) -> None:
    given = [answer(prompt=n, reward=1 / 3 + n, meta={"framing": "odd"}, oracle=None) for n in range(3)]
    first = Journal(tmp_path / "kept", ABOUT)
    assert not first.holds("ppo", [0])
    first.append([0, 2], given[:2])
    first.append([4], given[2:])
    again = Journal(tmp_path / "kept", ABOUT)
    assert again.holds("ppo", [4, 0, 2])
    assert not again.holds("sft", [0])
    assert not again.holds("ppo", [0, 1])
    assert again.answers("ppo", [4, 0, 2]) == [given[2], given[0], given[1]]


def test_a_line_that_was_cut_off_is_left_out_and_written_anew(answer: Make, tmp_path: Path) -> None:
    Journal(tmp_path, ABOUT).append([0, 1], [answer(prompt=0), answer(prompt=1)])
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    again = Journal(tmp_path, ABOUT)
    assert again.holds("ppo", [0])
    assert not again.holds("ppo", [1])
    again.append([0, 1], [answer(prompt=0), answer(prompt=1, reward=7.0)])
    assert Journal(tmp_path, ABOUT).answers("ppo", [1])[0].reward == 7.0


@pytest.mark.parametrize("size", [0, 5])
def test_a_file_without_its_first_line_is_begun_again(answer: Make, tmp_path: Path, size: int) -> None:
    Journal(tmp_path, ABOUT).append([0], [answer()])
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:size])
    again = Journal(tmp_path, ABOUT)
    assert not again.holds("ppo", [0])
    again.append([0], [answer()])
    assert Journal(tmp_path, ABOUT).holds("ppo", [0])


def test_processes_write_their_own_files_and_read_all(answer: Make, tmp_path: Path) -> None:
    journals = [Journal(tmp_path, ABOUT, rank) for rank in range(2)]
    for rank, journal in enumerate(journals):
        journal.append([rank], [answer(prompt=rank)])
    assert len(list(tmp_path.iterdir())) == 2
    assert Journal(tmp_path, ABOUT).holds("ppo", [0, 1])  # now alone


def test_another_evaluation_and_edited_lines_are_refused(answer: Make, tmp_path: Path) -> None:
    Journal(tmp_path, ABOUT).append([0], [answer()])
    with pytest.raises(UserError, match=r"answers-0\.jsonl:1: these answers are of another evaluation"):
        Journal(tmp_path, ABOUT | {"seed": 1})
    [file] = tmp_path.iterdir()
    head, line = file.read_text(encoding="utf-8").splitlines()
    for broken, message in (
        ("{}", r"answers-0\.jsonl:2: is not a kept answer"),
        (line.replace('"sample": 0', '"sample": -1'), r"answers-0\.jsonl:2: sample is -1"),
        (json.dumps({"index": 0, "answer": 3}), r"answers-0\.jsonl:2: is not a kept answer"),
    ):
        file.write_text(f"{head}\n{broken}\n", encoding="utf-8")
        with pytest.raises(UserError, match=message):
            Journal(tmp_path, ABOUT)


def test_a_score_that_is_no_number_is_not_kept(answer: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a score is not a finite number"):
        Journal(tmp_path, ABOUT).append([0], [answer(reward=float("nan"))])
    assert not list(tmp_path.iterdir())


def test_a_batch_is_answered_once_and_only_where_it_is_whole_on_all_processes(answer: Make, tmp_path: Path) -> None:
    calls: list[int] = []

    def fresh() -> list[Answer]:
        calls.append(0)
        return [answer(prompt=0), answer(prompt=2)]

    journal = Journal(tmp_path, ABOUT)
    first = kept_or_fresh(journal, "ppo", [0, 2], range(4), fresh)
    assert kept_or_fresh(Journal(tmp_path, ABOUT), "ppo", [0, 2], [0, 2], fresh) == first
    assert len(calls) == 1
    kept_or_fresh(Journal(tmp_path, ABOUT), "ppo", [0, 2], range(4), fresh)  # another process has lost its part
    kept_or_fresh(None, "ppo", [0, 2], [0, 2], fresh)
    assert len(calls) == 3
