"""A command in its own process: its output, its exit code, its end with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "csrlhf.sweeping.logged"]


def test_output_goes_to_the_log_and_the_code_comes_back(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint(sys.argv[1:], flush=True)\nos.write(2, b'below python')\nsys.exit(3)\n")
    log = tmp_path / "logs" / "one.log"
    done = subprocess.run([*COMMAND, str(log), str(script), "a=1"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 3
    assert done.stdout == done.stderr == b""
    assert log.read_text() == "['a=1']\nbelow python"


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script, pid_file = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()) + '.')\n"
        "time.sleep(600)\n"
    )
    starter = (
        "import os\nfrom csrlhf import processes\nprocesses.PRELOAD = ()\nif __name__ == '__main__':\n"
        f"    processes.run_program({[*COMMAND, str(tmp_path / 'log'), str(script)]!r}, os.environ)\n"
    )
    (tmp_path / "starter.py").write_text(starter)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "starter.py")], cwd=ROOT, env=environment)
    _wait(lambda: pid_file.exists() and pid_file.read_text().endswith("."))
    child = int(pid_file.read_text().rstrip("."))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _wait(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")  # ended, nobody looked


def _wait(condition) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
