"""Files that are written whole: a full disk leaves what stood there, and the message names the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from csrlhf.apps import sweep
from csrlhf.errors import system_message, writing
from csrlhf.evaluation.answers.records import Answer, write_answers
from csrlhf.report import Report, Text
from csrlhf.runs import artifacts
from csrlhf.sweeping.table import write_runs
from csrlhf.tracking.history import HistoryLogger

ROW = {"id": "a", "status": "finished", "strategy": "linear", "threshold/harm": 0.1, "late/policy/kl_coef": 0.1}


def report() -> Report:
    made = Report("title")
    made.add(Text("words"))
    return made


def history(path: Path) -> None:
    HistoryLogger(path).log_metrics({"loss": 1.0}, step=3)


WRITERS: dict[str, Callable[[Path], object]] = {
    "json": lambda path: artifacts.write_json(path, {"a": 1}),
    "answers": lambda path: write_answers(path, [Answer("p/1/0", "p", "1", 0, "a", "b")], {}),
    "runs": lambda path: write_runs(path, [ROW]),
    "report": lambda path: report().write(path),
    "history": history,
}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of every file fits."""
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("name", WRITERS)
def test_what_stood_there_stays(name: str, tmp_path: Path, full: None) -> None:
    path = tmp_path / f"{name}.file"
    path.write_text("step,loss\n1,2.0\n", encoding="utf-8")
    with pytest.raises(OSError, match=r"No space left on device") as refused:
        WRITERS[name](path)
    assert system_message(refused.value).startswith(f"no space left on the disk ({path}); free some")
    assert path.read_text(encoding="utf-8") == "step,loss\n1,2.0\n"
    assert list(tmp_path.iterdir()) == [path], "no half file lies beside it"


def test_a_draft_is_not_what_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as refused:
        artifacts.write_json(tmp_path / "nowhere" / "x.json", {})
    assert system_message(refused.value) == f"{tmp_path / 'nowhere' / 'x.json'}: there is no such file"


def test_a_library_s_own_error_is_the_same_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as refused, writing(tmp_path / "x"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert f"({tmp_path / 'x'})" in system_message(refused.value)
    with pytest.raises(SafetensorError, match="header"), writing(tmp_path / "x"):
        raise SafetensorError("header is too large")


def test_a_result_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "evaluate"
    artifacts.publish(folder, lambda draft: artifacts.write_json(draft / artifacts.RECORD, {"fingerprint": "1" * 64}))

    def write(draft: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # from a picture, a copy: whatever is below

    with pytest.raises(OSError, match="No space left") as refused:
        artifacts.publish(folder, write)
    assert f"({folder})" in system_message(refused.value)
    assert artifacts.restore(folder, "1" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluate"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left on the disk ("), (errno.EROFS, "the disk can only be read")],
)
def test_the_report_of_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    more = {"late/validation/harm/cost": 0.05, "late/validation/reward": 1.0, "late/validation/kl": 0.0}
    write_runs(tmp_path / "runs.csv", [ROW | more])
    before = (tmp_path / "runs.csv").read_bytes()

    def refused(path: Path, content: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refused)
    assert sweep.main([str(tmp_path), "--report"]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert words in line
    assert str(tmp_path / "report.html") in line
    assert (tmp_path / "runs.csv").read_bytes() == before
