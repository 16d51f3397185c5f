"""Runs a program in a process of its own that starts with the heavy libraries already imported.

Importing torch, Lightning and transformers takes seconds, as long as a small stage's work. A server process
imports them once and is forked for each stage (the standard library's fork server). It computes nothing
itself, so no thread of torch exists when it is forked, and one stage's state never reaches the next.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import reduction
from pathlib import Path
from typing import Any

# Which process of a multi-process launch this is, before Lightning knows: from the launchers' variables.

RANK_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
"""Set by torchrun, SLURM and Lightning's own launcher; the first that is set decides."""

SINGLE = {"RANK": 0, "LOCAL_RANK": 0, "SLURM_PROCID": 0, "WORLD_SIZE": 1, "SLURM_NTASKS": 1}
"""Variables of multi-process launchers, and the largest value that means 'a single process'."""

PATIENCE = 15.0
"""Seconds in which the first process reports an error that all of them have."""


def process_rank() -> int:
    """This process's number, 0 for the first or only one."""
    for name in RANK_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def is_first_process() -> bool:
    """True for the one process that prints, writes and publishes."""
    return process_rank() == 0


def one_of_several(variables: Mapping[str, str]) -> str | None:
    """The variable that says that a launcher starts several processes, ``WORLD_SIZE=2``; None where none does."""
    for name, single in SINGLE.items():
        if variables.get(name, "").isdigit() and int(variables[name]) > single:
            return f"{name}={variables[name]}"
    return None


def readable(program: Sequence[str], overrides: Iterable[str] = ()) -> str:
    """The words that start a program, and overrides, as a user would type them in a shell."""
    return " ".join(["python", *program[1:], *map(shlex.quote, overrides)])


def reported_by_first() -> bool:
    """Whether the first process, which started this one, ends as well: then it has said what is wrong.

    Waits a little: a mistake in the input meets all processes at about the same time.
    """
    first = os.getppid()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if os.getppid() != first:  # an ended process's children are given to another
            return True
        time.sleep(0.1)
    return False


STREAMS = (1, 2)
"""The files of a process's output and of its errors."""

PRELOAD = (
    "lightning.pytorch",
    "transformers",
    "csrlhf.training.ppo.policy",
    "csrlhf.evaluation.policies.module",
    "csrlhf.runs.runner",
    "csrlhf.data.leaks",
    "wandb.apis.public",
)
"""What every stage needs, or most; W&B's public API is what each of its runs imports, a second's worth."""


def run_program(words: Sequence[str], variables: Mapping[str, str], log: Path | None = None) -> int:
    """Run ``python SCRIPT ARGUMENT...`` or ``python -m MODULE ARGUMENT...`` and wait.

    Ctrl-C reaches the program as well; we wait until it has saved and ended.

    Args:
        words: the command; the first word, the interpreter, is ours.
        variables: the program's whole environment.
        log: file for what it prints, in place of our own output. Such a program ends when we do, however we end: a
            killed sweep or benchmark leaves nothing running that would write into the folders of the next one.

    Returns:
        Its exit code; 128 + signal where a signal ended it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    process = context.Process(target=_run, args=(list(words[1:]), dict(variables), log, _Output()))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.join()
        finally:
            signal.signal(signal.SIGINT, handler)
    code = process.exitcode or 0
    return code if code >= 0 else 128 - code


class _Output:
    """Where this process writes *now*; the new one takes it over. It would else write where the fork server does.

    The two differ where a caller turns its output elsewhere between two programs, as pytest does for each test.
    """

    def __init__(self, streams: tuple[Any, ...] = ()) -> None:
        self.streams = streams

    def __reduce__(self) -> tuple[type, tuple[tuple[Any, ...]]]:
        return _Output, (tuple(reduction.DupFd(stream) for stream in STREAMS),)

    def take(self) -> None:
        """In the new process: write there."""
        for stream, file in zip(STREAMS, self.streams, strict=True):
            os.dup2(file.detach(), stream)


def _run(words: list[str], variables: dict[str, str], log: Path | None, output: _Output) -> None:
    """In the new process: become the program."""
    output.take()
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in STREAMS:
            os.dup2(file, stream)
        threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(variables)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def _end_with_parent() -> None:
    """The parent that counts is the one that asked for this process, not the server that forked it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
