"""Batches of numbered items, kept on disk as they are made, so that a killed run goes on where it stood.

``stage=evaluate``, ``certify`` and ``decode`` all do the same: a batch goes through models, and what comes out (an
answer, a cost) is kept at once. Here is the one file format and the one rule to go on by; a stage says how a batch is
made, and how an item becomes JSON.

Each process appends JSON lines to a file of its own, below a first line that says which run they belong to. A batch
counts where it is whole; what is missing is made in the same batches as without the interruption (noise is a pure
function of seed and number), and comes out the same to the digit. Every line carries a checksum: one that was edited is
refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar
from zlib import crc32

from csrlhf.errors import UserError, writing

Item = TypeVar("Item")


class Journal(Generic[Item]):
    """What was made so far, by name (of a policy, of a set of rows) and number.

    Example: ``Journal(folder, {"seed": 0}).batch("ppo", [0, 1], lambda: ["yes", "no"])`` makes two items, and in the
    next process takes them from the folder.

    Args:
        folder: where the files of all processes lie; None keeps nothing.
        about: the run that the items belong to, JSON-ready.
        pack: an item as JSON text on one line.
        unpack: the item from what ``json.loads`` makes of that text.
        rank: of this process, which writes its own file.

    Raises:
        UserError: what is kept is of another run, or a line was changed.
    """

    def __init__(
        self,
        folder: Path | None,
        about: Mapping[str, Any],
        pack: Callable[[Item], str] = json.dumps,
        unpack: Callable[[Any], Item] = lambda item: item,
        rank: int = 0,
    ) -> None:
        self._head = json.dumps(about, sort_keys=True)
        self._pack, self._unpack = pack, unpack
        self._path = None if folder is None else folder / f"journal-{rank}.jsonl"
        self._kept: dict[str, dict[int, Item]] = {}
        self._made: dict[str, dict[int, Item]] = {}
        for path in sorted(folder.glob("journal-*.jsonl")) if folder is not None else ():
            self._read(path)

    def batch(
        self,
        name: str,
        numbers: Sequence[int],
        make: Callable[[], Sequence[Item]],
        everywhere: Iterable[int] | None = None,
    ) -> list[Item]:
        """The items of a batch: those that stand where all of them do, else fresh ones, which are kept.

        Args:
            name: of what the batch is a part.
            numbers: of the items of this process.
            make: makes them, one for each number.
            everywhere: the numbers of all processes in this batch: they take what stands together, or make it together.
        """
        if self.holds(name, numbers if everywhere is None else everywhere):
            items = [self._kept[name][number] for number in numbers]
        else:
            items = list(make())
            self.append(name, numbers, items)
        self._made.setdefault(name, {}).update(zip(numbers, items, strict=True))
        return items

    def holds(self, name: str, numbers: Iterable[int]) -> bool:
        """True if all these items stood in the files when they were read."""
        kept = self._kept.get(name, {})
        return all(number in kept for number in numbers)

    def take(self, name: str) -> dict[int, Item]:
        """The items of this process's batches by number; the journal forgets them, the files do not."""
        self._kept.pop(name, None)
        return self._made.pop(name, {})

    def append(self, name: str, numbers: Sequence[int], items: Sequence[Item]) -> None:
        """Write a batch, and wait until it is on the disk."""
        lines = [self._line(name, number, self._pack(item)) for number, item in zip(numbers, items, strict=True)]
        if self._path is None:
            return
        if not self._path.exists() or not self._path.stat().st_size:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, f"{self._head}\n".encode())
        with writing(self._path), self._path.open("ab") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _line(name: str, number: int, item: str) -> bytes:
        """The checksum is that of all that follows it on the line."""
        rest = f'"name": {json.dumps(name)}, "number": {number}, "item": {item}}}'.encode()
        return b'{"crc32": %d, %s\n' % (crc32(rest), rest)

    def _read(self, path: Path) -> None:
        """Take the whole lines of a file; the process that wrote it cuts off what a kill left behind them."""
        content = path.read_bytes()
        size = content.rfind(b"\n") + 1
        if path == self._path and size < len(content):
            os.truncate(path, size)
        head, *lines = content[:size].split(b"\n")[:-1] or [b""]
        if head and head != self._head.encode():
            raise UserError(
                f"{path}:1: was kept by another run (other models, data or settings); start anew, without resume=true"
            )
        for row, line in enumerate(lines, start=2):
            checksum, _, rest = line.partition(b", ")
            if checksum != b'{"crc32": %d' % crc32(rest):
                raise UserError(f"{path}:{row}: is not what was kept, the file was changed; delete it and run again")
            kept = json.loads(line)
            self._kept.setdefault(kept["name"], {})[kept["number"]] = self._unpack(kept["item"])
