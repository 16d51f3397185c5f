"""``python train.py stage=evaluate|certify|decode`` killed, stopped by Ctrl-C or by a full disk: answers are kept.

The commands run in processes of their own that a signal ends, forked where seconds count (the libraries are loaded
already) and started by a shell's words in the ``full`` tests.
"""

from __future__ import annotations

import errno
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.generation.journal import Journal

PROMPTS = [f"{a} {b}" for a in "abcd" for b in "efgh"]
STAGES = ("evaluate", "certify", "decode")
RESULT = {"evaluate": "answers.jsonl", "certify": "certificate.json", "decode": "decoded.jsonl"}
HINT = {"evaluate": "resume=true", "certify": "resume=true", "decode": "the same command continues"}
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.fixture(scope="module")
def words(folders: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """``words("evaluate", folder)``: the command line, whose results go to the folder; four batches of four prompts."""
    data = tmp_path_factory.mktemp("data")
    for name, prompts in (("train", ["j j", "i i"]), ("asked", PROMPTS)):
        lines = "".join(f"{json.dumps({'prompt': prompt})}\n" for prompt in prompts)
        (data / f"{name}.jsonl").write_text(lines, encoding="utf-8")

    def call(stage: str, root: Path, *more: str, asked: Path = data / "asked.jsonl") -> list[str]:
        own = {
            "evaluate": [f"evaluate.prompts={{asked: {asked}}}", "evaluate.harmful=[asked]", "evaluate.batch_size=4"],
            "certify": [f"certify.prompts={asked}", "certify.batch_size=4"],
            "decode": [f"decode.prompts={asked}", "decode.n=2", "decode.batch_size=8"],
        }
        inputs = [f"inputs.{key}={getattr(folders, key)}" for key in ("sft", "reward", "cost", "ppo")]
        return [
            f"stage={stage}", f"artifacts={root}", "name=mine", "logger=none", "data=jsonl", "leaks=ignore",
            f"data.train={data / 'train.jsonl'}", "rollout.max_new_tokens=5", *inputs, *own[stage], *more,
        ]  # fmt: skip

    return call


@pytest.fixture(scope="module")
def whole(
    words: Callable[..., list[str]], train: Callable[..., int], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``whole("evaluate")``: the results of a command that nothing stopped, made once."""

    @functools.cache
    def made(stage: str) -> Path:
        root = tmp_path_factory.mktemp("whole")
        assert train(*words(stage, root)) == 0
        return root

    return made


def ends_itself(after: int, how: signal.Signals, rank: str | None = None) -> None:
    """This process gets a signal once it has kept so many batches."""
    append, kept = Journal.append, []

    def counted(self: Any, *given: Any) -> None:
        append(self, *given)
        kept.append(1)
        if len(kept) == after and rank in (None, os.environ.get("LOCAL_RANK")):
            os.kill(os.getpid(), how)
            time.sleep(30)  # a signal needs a moment to arrive

    Journal.append = counted  # type: ignore[method-assign]  # in a process that ends


def started(train: Callable[..., int], words: list[str], after: int, how: signal.Signals) -> int | None:
    """The exit code of a command that gets a signal in a process of its own."""

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ends_itself(after, how)
        sys.exit(train(*words))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    return process.exitcode


def result(root: Path, stage: str) -> Path:
    """The folder of the only result."""
    return root / stage / "mine"


def kept_files(root: Path) -> dict[str, int]:
    """Sizes of what a killed command has left."""
    files = [path for path in (root / ".work").rglob("*.jsonl") if path.is_file()]
    return {path.name: path.stat().st_size for path in files}


def same(first: Path, second: Path, stage: str) -> None:
    """Two results agree to the letter in numbers and in answers."""
    for name in ("metrics.json", RESULT[stage]):
        assert (result(first, stage) / name).read_bytes() == (result(second, stage) / name).read_bytes(), name


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stopped_command_goes_on_and_ends_as_one_that_was_not(
    train: Callable[..., int], words: Callable[..., list[str]], whole: Callable[[str], Path], tmp_path: Path,
    stage: str, how: signal.Signals, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    part, _ = tmp_path / "part", whole(stage)
    capfd.readouterr()
    code = started(train, words(stage, part), 2, how)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert not result(part, stage).exists()
    before = kept_files(part)
    assert any(before.values())
    error = capfd.readouterr().err
    if how == signal.SIGINT:
        assert HINT[stage] in error
        assert "Traceback" not in error
    fresh: list[int] = []
    append = Journal.append
    monkeypatch.setattr(Journal, "append", lambda *given: (fresh.append(len(given[-1])), append(*given)))
    assert train(*words(stage, part, "resume=true")) == 0
    assert "resuming" in capfd.readouterr().out
    total = {"evaluate": 32, "certify": 16, "decode": 16}[stage]
    assert sum(fresh) == total - 8  # two batches of four answers are not drawn again
    same(whole(stage), part, stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_loses_nothing_that_was_answered(
    command_line: Callable[..., Any], words: Callable[..., list[str]], whole: Callable[[str], Path], tmp_path: Path,
    stage: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The disk is full in the middle of a batch's lines: an error of the system that names no file by itself."""
    part, _ = tmp_path / "part", whole(stage)
    written: list[int] = []

    def full(file: int) -> None:
        written.append(file)
        if len(written) == 3:
            os.ftruncate(file, os.fstat(file).st_size - 30)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        stopped = command_line(*words(stage, part))
    assert stopped.code == 1
    [line] = [line for line in stopped.err.splitlines() if line.startswith("error:")]
    [file] = [path for path in (part / ".work").rglob("*.jsonl") if path.stat().st_size]
    assert f"no space left on the disk ({file}); free some" in line
    assert HINT[stage] in line
    assert "Traceback" not in stopped.err
    assert not result(part, stage).exists()
    assert command_line(*words(stage, part, "resume=true")).code == 0
    same(whole(stage), part, stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_can_only_be_read_is_named_before_anything_is_answered(
    command_line: Callable[..., Any], words: Callable[..., list[str]], tmp_path: Path, stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    mkdir, root = Path.mkdir, tmp_path / "results"

    def refused(path: Path, *given: Any, **options: Any) -> None:
        if root in (path, *path.parents):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *given, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    outcome = command_line(*words(stage, root))
    assert outcome.code == 1
    assert f"error: {root}" in outcome.err
    assert "the disk can only be read; set artifacts= to a folder that can be written" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("stage", ["evaluate", "certify"])
def test_two_processes_go_on_after_one_was_killed(
    train: Callable[..., int], words: Callable[..., list[str]], tmp_path: Path, stage: str,
    on_two_processes: Callable[..., list[int | None]],
) -> None:  # fmt: skip
    """The second of two gloo processes dies; the first does not hang, and what both have kept is enough to go on."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert on_two_processes(lambda rank: sys.exit(train(*words(stage, whole, *TWO)))) == [0, 0]

    def killed(rank: int) -> None:
        ends_itself(1, signal.SIGKILL, rank="1")
        sys.exit(train(*words(stage, part, *TWO)))

    codes = on_two_processes(killed)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, None), "the first process fails, and does not wait for ever"
    assert not result(part, stage).exists()
    assert {"journal-0.jsonl", "journal-1.jsonl"} <= set(kept_files(part))
    assert on_two_processes(lambda rank: sys.exit(train(*words(stage, part, *TWO, "resume=true")))) == [0, 0]
    same(whole, part, stage)


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_program_itself(
    train: Callable[..., int], words: Callable[..., list[str]], repository: Path, tmp_path: Path, stage: str,
    how: signal.Signals,
) -> None:  # fmt: skip
    """``python train.py`` from a shell, with more answers than it gives before the signal comes."""
    prompts = [f"{a} {b} {c}" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"]
    lines = "".join(f"{json.dumps({'prompt': prompt})}\n" for prompt in prompts)
    longer = [f"{stage}.batch_size=2", "rollout.max_new_tokens=40"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    asked = tmp_path / "asked.jsonl"
    asked.write_text(lines, encoding="utf-8")
    made = [words(stage, root, *longer, asked=asked) for root in (whole, part)]
    assert train(*made[0]) == 0
    start = [sys.executable, str(repository / "train.py")]
    process = subprocess.Popen(
        [*start, *made[1]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    until = time.monotonic() + 300
    while not any(size > 2000 for size in kept_files(part).values()) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(how)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), said
    assert not result(part, stage).exists(), "it was too fast to be killed"
    resumed = subprocess.run([*start, *made[1], "resume=true"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stdout
    same(whole, part, stage)
