"""One call at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from csrlhf.errors import UserError


@contextmanager
def alone(*folders: Path) -> Iterator[None]:
    """Refuse a folder that another call is working in. The lock ends with the process, however it ends."""
    files = []
    try:
        for folder in dict.fromkeys(folders):
            folder.mkdir(parents=True, exist_ok=True)
            files.append((folder / ".lock").open("w"))
            try:
                fcntl.flock(files[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{folder}: another call is working here; wait for it, or name another --out"
                ) from error
        yield
    finally:
        for file in files:
            file.close()
