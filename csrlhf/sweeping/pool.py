"""Runs lists of commands side by side, each in a process with the libraries already imported, and says how far it is.

A command that fails stops its own list alone: the others go on, and the failed one is tried again when the sweep or
benchmark is called again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from csrlhf.tracking.progress import clock

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C has stopped."""


class Command(Protocol):
    """What a pool runs."""

    @property
    def stage(self) -> str:
        """What the command trains or judges; commands of one stage take about as long as each other."""
        ...

    @property
    def title(self) -> str:
        """For a person."""
        ...

    @property
    def log(self) -> Path:
        """What the command prints."""
        ...

    @property
    def record(self) -> Path:
        """Written when the command has ended well."""
        ...

    @property
    def why_needless(self) -> str:
        """Said where the command is needless."""
        ...

    def done(self) -> bool:
        """Whether the result stands."""
        ...

    def needless(self) -> bool:
        """Whether there is nothing to do."""
        ...

    def finish(self, seconds: float, threads: int) -> None:
        """Leave the record."""
        ...


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

    def make(self, lists: Sequence[Sequence[C]]) -> None:
        """Run the missing commands of all lists; the commands of one list follow each other.

        Raises:
            KeyboardInterrupt: after the commands that were running have saved their state.
        """
        todo = [commands for commands in map(unfinished, lists) if commands]
        with ThreadPoolExecutor(self.workers) as threads:
            futures = [threads.submit(self._list, commands, f"{n}/{len(todo)}") for n, commands in enumerate(todo, 1)]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stopped = True
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _list(self, commands: Sequence[C], number: str) -> None:
        for command in commands:  # old records would outlive a command that is stopped half-way
            command.record.unlink(missing_ok=True)
        for position, command in enumerate(commands):
            if self._stopped:
                return
            if command.needless():
                self._report(f"{number} {command.title}: {command.why_needless}", [command])
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
