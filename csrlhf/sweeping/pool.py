"""Runs lists of commands side by side, each in a process with the libraries already imported, and says how far it is.

A command that fails stops its own list alone: the others go on, and the failed one is tried again when the sweep or
benchmark is called again.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, TypeVar

from csrlhf.errors import UserError
from csrlhf.tracking.progress import clock

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C has stopped."""


@dataclass(frozen=True)
class Command:
    """What a pool runs.

    Attributes:
        stage: what the command trains or judges; commands of one stage take about as long as each other.
        name: of the run, or of the stage.
    """

    stage: str
    name: str

    @property
    def title(self) -> str:
        """For a person."""
        return self.name

    @property
    def log(self) -> Path:
        """What the command prints."""
        raise NotImplementedError

    def done(self) -> bool:
        """Whether the result stands."""
        raise NotImplementedError

    def needless(self) -> str:
        """Why there is nothing to do, empty where there is."""
        return ""

    def begin(self) -> None:
        """Drop an old record, which would outlive a command that is stopped half-way."""

    def finish(self, seconds: float, threads: int) -> None:
        """Leave the record."""
        raise NotImplementedError


C = TypeVar("C", bound=Command)


def unfinished(commands: Sequence[C]) -> list[C]:
    """The commands still to run: from the first that is not finished on, since the later ones read its result."""
    for position, command in enumerate(commands):
        if not (command.done() or command.needless()):
            return list(commands[position:])
    return []


class Pool(Generic[C]):
    """Runs what is missing.

    Args:
        workers: commands side by side.
        threads: of each.
        run: runs a command with so many threads and returns its exit code.
        seconds: what each stage takes, for the time left.
        ended: called after each command, with its exit code; one call at a time.
    """

    def __init__(
        self,
        workers: int,
        threads: int,
        run: Callable[[C, int], int],
        seconds: Mapping[str, float],
        ended: Callable[[C, int], None] | None = None,
    ) -> None:
        self.workers, self.threads, self.run = workers, threads, run
        self.seconds = dict(seconds)
        self.failed: list[C] = []
        self._ended = ended
        self._stopped = False
        self._lock = threading.Lock()
        self._left: Counter[str] = Counter()

    def expect(self, lists: Iterable[Sequence[C]], later: Mapping[str, int] | None = None) -> float:
        """Seconds for what is missing in these lists, which are going to be made, and for ``later`` more by stage."""
        self._left = Counter(command.stage for commands in lists for command in unfinished(commands))
        self._left.update(later or {})
        return self.time_left()

    def time_left(self) -> float:
        """Seconds for what is still missing."""
        return sum(self.seconds[stage] * max(count, 0) for stage, count in self._left.items()) / self.workers

    def make(self, lists: Iterable[Sequence[C]], total: int | None = None) -> None:
        """Run the missing commands of all lists; the commands of one list follow each other.

        Args:
            lists: taken one by one, as workers get free: a generator may decide late what is next.
            total: how many lists there will be; None counts them now.

        Raises:
            KeyboardInterrupt: after the commands that were running have saved their state.
        """
        todo: Iterable[list[C]] = filter(None, map(unfinished, lists))
        if total is None:
            total = len(todo := list(todo))
        numbered = ((f"{number}/{total}", commands) for number, commands in enumerate(todo, 1))
        with ThreadPoolExecutor(self.workers) as threads:
            futures = [threads.submit(self._work, numbered) for _ in range(self.workers)]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stopped = True
                raise

    def _work(self, numbered: Iterator[tuple[str, Sequence[C]]]) -> None:
        while not self._stopped:
            with self._lock:
                number, commands = next(numbered, ("", ()))
            if not commands:
                return
            self._list(commands, number)

    def _list(self, commands: Sequence[C], number: str) -> None:
        for command in commands:
            command.begin()
        for position, command in enumerate(commands):
            if self._stopped:
                return
            if why := command.needless():
                self._report(f"{number} {command.title}: {why}", [command])
                continue
            start = time.monotonic()
            try:
                code = self.run(command, self.threads)
                if code == INTERRUPTED:  # it has saved its state; no failure
                    raise KeyboardInterrupt
                seconds = time.monotonic() - start
                if not code:
                    command.finish(seconds, self.threads)
            except BaseException:  # before this thread takes the next list
                self._stopped = True
                raise
            with self._lock:
                if code:
                    self.failed.append(command)
                if self._ended is not None:
                    self._ended(command, code)
            if code:
                line = f"{number} {command.title} FAILED (exit code {code}), see {command.log}"
                self._report(line, commands[position:])
                return
            self._report(f"{number} {command.title}, {seconds:.0f} s", [command])

    def _report(self, line: str, ended: Sequence[C]) -> None:
        with self._lock:
            self._left.subtract(command.stage for command in ended)
            print(f"{time.strftime('%H:%M:%S')}  {line}; about {clock(self.time_left())} left", flush=True)


def held(path: Path, wait: bool = True) -> IO[str]:
    """A lock on a file, which ends when it is closed or its process ends, however it ends.

    Args:
        path: the file, which stays.
        wait: until it is free.

    Raises:
        BlockingIOError: another call or thread has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def alone(*folders: Path) -> Iterator[None]:
    """Refuse a folder that another call is working in."""
    with ExitStack() as files:
        for folder in dict.fromkeys(folders):
            try:
                files.enter_context(held(folder / ".lock", wait=False))
            except BlockingIOError as error:
                raise UserError(
                    f"{folder}: another call is working here; wait for it, or name another --out"
                ) from error
        yield


def pin_threads(threads: int, root: Path) -> None:
    """Every process that is started from now on computes with so many threads and imports from ``root`` first.

    The libraries read the number when they are imported: once, in the server that all commands are forked from.
    """
    os.environ.update(thread_variables(threads))
    python_path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(root) if not python_path else f"{root}{os.pathsep}{python_path}"


def thread_variables(threads: int) -> dict[str, str]:
    """What the numerical libraries look at."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
