from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from csrlhf.errors import UserError
from csrlhf.runs import artifacts


def result(fingerprint: str, note: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        artifacts.write_json(folder / artifacts.RECORD, {"fingerprint": fingerprint})
        (folder / "note").write_text(note, encoding="utf-8")

    return write


def note(folder: Path) -> str:
    return (folder / "note").read_text(encoding="utf-8")


def test_publish_replaces_the_same_and_keeps_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    artifacts.publish(folder, result("a" * 64, "first"))
    artifacts.publish(folder, result("a" * 64, "second"))
    assert note(folder) == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    artifacts.publish(folder, result("b" * 64, "third"))
    assert note(folder) == "third"
    assert note(tmp_path / "sft.aaaaaaaa") == "second"


def test_a_failed_write_leaves_the_standing_result_and_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    artifacts.publish(folder, result("a" * 64, "good"))

    def fails(draft: Path) -> None:
        (draft / "half").write_text("", encoding="utf-8")
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        artifacts.publish(folder, fails)
    assert note(folder) == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]


def test_restore_swaps_a_kept_result_back(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    artifacts.publish(folder, result("a" * 64, "a"))
    artifacts.publish(folder, result("b" * 64, "b"))
    assert artifacts.restore(folder, "b" * 64)
    assert note(folder) == "b"
    assert artifacts.restore(folder, "a" * 64)
    assert note(folder) == "a"
    assert note(tmp_path / "sft.bbbbbbbb") == "b"
    assert not artifacts.restore(folder, "c" * 64)
    assert note(folder) == "a"


def test_a_folder_that_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    folder.mkdir()
    (folder / "thesis").write_text("years", encoding="utf-8")
    with pytest.raises(UserError, match="not a result of csrlhf"):
        artifacts.publish(folder, result("a" * 64))
    assert (folder / "thesis").read_text(encoding="utf-8") == "years"


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        artifacts.publish(tmp_path / name, result(name[0] * 64, name))
        artifacts.point_latest(tmp_path / name)
        assert note(tmp_path / artifacts.LATEST) == name


def test_fingerprint_of_a_result_a_foreign_folder_and_a_hub_name(tmp_path: Path) -> None:
    artifacts.publish(tmp_path / "sft", result("a" * 64))
    assert artifacts.fingerprint_of(str(tmp_path / "sft")) == "a" * 64
    (tmp_path / "model").mkdir()
    empty = artifacts.fingerprint_of(str(tmp_path / "model"))
    (tmp_path / "model" / "weights").write_text("1", encoding="utf-8")
    assert artifacts.fingerprint_of(str(tmp_path / "model")) != empty
    assert artifacts.fingerprint_of("org/name") == "org/name"


def test_a_broken_record_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / artifacts.RECORD).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        artifacts.read_record(tmp_path)


def test_json_has_neither_nan_nor_infinity(tmp_path: Path) -> None:
    inf, nan = float("inf"), float("nan")
    artifacts.write_json(tmp_path / "x.json", {"a": nan, "b": [1.5, nan, -inf], "c": 2, "d": {"e": inf}, "f": (inf, 1)})
    read = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert read == {"a": None, "b": [1.5, None, None], "c": 2, "d": {"e": None}, "f": [None, 1]}
