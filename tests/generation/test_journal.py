"""Items kept while they are made: whole batches count, and what was cut off, changed or is another run's is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.generation.journal import Journal

ABOUT = {"seed": 0, "policies": {"ppo": "1a2b"}}


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"p{number} ü ", "reward": 1 / 3 + number, "meta": {"framing": None}, **more}


def journal(folder: Path, about: dict[str, Any] = ABOUT, rank: int = 0) -> Journal[dict[str, Any]]:
    return Journal(folder, about, lambda one: json.dumps(one, ensure_ascii=False), rank=rank)


def nothing() -> list[Any]:
    raise AssertionError("made although it is kept")


def test_what_was_kept_comes_back_to_the_digit(tmp_path: Path) -> None:
    first = journal(tmp_path / "kept")
    assert not first.holds("ppo", [0])
    first.batch("ppo", [0, 2], lambda: [item(0), item(2)])
    first.batch("ppo", [4], lambda: [item(4)])
    first.batch("sft", [4], lambda: [item(5)])
    again = journal(tmp_path / "kept")
    assert again.holds("ppo", [4, 0, 2])
    assert not again.holds("sft", [0])
    assert not again.holds("ppo", [0, 1])
    assert again.batch("ppo", [4, 0, 2], nothing) == [item(4), item(0), item(2)]
    assert again.take("ppo") == {4: item(4), 0: item(0), 2: item(2)}
    assert again.take("ppo") == again.take("sft") == {}  # nobody has asked for the other policy's yet


def test_an_item_has_its_own_words_and_comes_back_as_it_was(tmp_path: Path) -> None:
    def made() -> Journal[complex]:
        return Journal(tmp_path, ABOUT, lambda one: json.dumps([one.real, one.imag]), lambda parts: complex(*parts))

    made().batch("x", [0], lambda: [1j / 3])
    assert made().batch("x", [0], nothing) == [1j / 3]


def test_a_line_that_was_cut_off_is_left_out_and_written_anew(tmp_path: Path) -> None:
    journal(tmp_path).append("ppo", [0, 1], [item(0), item(1)])
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    again = journal(tmp_path)
    assert again.holds("ppo", [0])
    assert not again.holds("ppo", [1])
    again.append("ppo", [0, 1], [item(0), item(7)])
    assert journal(tmp_path).batch("ppo", [1], nothing) == [item(7)]


@pytest.mark.parametrize("size", [0, 5])
def test_a_file_without_its_first_line_is_begun_again(tmp_path: Path, size: int) -> None:
    journal(tmp_path).append("ppo", [0], [item(0)])
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:size])
    again = journal(tmp_path)
    assert not again.holds("ppo", [0])
    again.append("ppo", [0], [item(0)])
    assert journal(tmp_path).holds("ppo", [0])


def test_processes_write_their_own_files_and_read_all(tmp_path: Path) -> None:
    for rank, one in enumerate([journal(tmp_path, rank=rank) for rank in range(2)]):
        one.append("ppo", [rank], [item(rank)])
    assert len(list(tmp_path.iterdir())) == 2
    assert journal(tmp_path).holds("ppo", [0, 1])  # now alone


def test_another_run_s_items_and_changed_lines_are_refused(tmp_path: Path) -> None:
    journal(tmp_path).append("ppo", [0], [item(0)])
    with pytest.raises(UserError, match=r"journal-0\.jsonl:1: was kept by another run .*; start anew"):
        journal(tmp_path, ABOUT | {"seed": 1})
    [file] = tmp_path.iterdir()
    head, line = file.read_text(encoding="utf-8").splitlines()
    for broken in ("{}", "", line.replace("p0", "p1"), line.replace('"number": 0', '"number": 1'), line[:-1]):
        file.write_text(f"{head}\n{broken}\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"journal-0\.jsonl:2: is not what was kept, the file was changed"):
            journal(tmp_path)


def test_what_cannot_be_written_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        journal(tmp_path).append("ppo", [0], [item(0, reward=1j)])
    assert not list(tmp_path.iterdir())


def test_a_batch_is_made_once_and_only_where_it_is_whole_on_all_processes(tmp_path: Path) -> None:
    calls: list[int] = []

    def fresh() -> list[dict[str, Any]]:
        calls.append(0)
        return [item(0), item(2)]

    first = journal(tmp_path).batch("ppo", [0, 2], fresh, range(4))
    assert journal(tmp_path).batch("ppo", [0, 2], fresh, [0, 2]) == first
    assert len(calls) == 1
    journal(tmp_path).batch("ppo", [0, 2], fresh, range(4))  # another process has lost its part
    Journal(None, ABOUT).batch("ppo", [0, 2], fresh)
    assert len(calls) == 3
