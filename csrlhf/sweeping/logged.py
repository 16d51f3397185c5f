"""One command with its output in a file: ``python -m csrlhf.sweeping.logged LOG SCRIPT ARGUMENT ...``.

``-m MODULE`` may stand in the script's place. Run by ``csrlhf.runs.processes`` it ends when the process that asked for
it does: a killed sweep or benchmark leaves nothing running that would write into the folders of the next one.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import threading
from pathlib import Path


def main() -> None:
    """Redirect, watch, and become the program."""
    log = Path(sys.argv[1])
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if sys.argv[2] == "-m":
        sys.argv = sys.argv[3:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[2:]
        runpy.run_path(sys.argv[0], run_name="__main__")


def _end_with_parent() -> None:
    """The parent that counts is the one that asked for this process, not the server that forked it."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # None: started by hand
        parent.join()
        os._exit(1)


if __name__ == "__main__":
    main()
