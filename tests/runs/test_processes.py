"""A program in its own process: arguments, environment, exit code, and a start that costs no imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from csrlhf.runs.processes import run_program

ROOT = Path(__file__).resolve().parents[1]


def test_the_program_gets_its_arguments_and_environment_alone(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import os, sys\n"
        "open(sys.argv[1], 'w').write(f'{__name__} {sys.argv[0]} {os.environ.get(chr(65))} {os.environ.get(chr(66))}')"
    )
    os.environ["B"] = "parent"
    try:
        code = run_program([sys.executable, str(script), str(tmp_path / "out")], os.environ | {"A": "a"} | {"B": "b"})
    finally:
        del os.environ["B"]
    assert code == 0
    assert (tmp_path / "out").read_text() == f"__main__ {script} a b"


def test_a_module_is_a_program_too(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"b": 1}')
    code = run_program(
        [sys.executable, "-m", "json.tool", str(tmp_path / "data.json"), str(tmp_path / "out")], os.environ
    )
    assert code == 0
    assert (tmp_path / "out").read_text() == '{\n    "b": 1\n}\n'


def test_libraries_are_there_and_nothing_of_the_last_program(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text("import sys\nassert 'torch' in sys.modules and not hasattr(sys, 'mark')\nsys.mark = 1\n")
    assert [run_program([sys.executable, str(script)], os.environ) for _ in range(2)] == [0, 0]


def test_output_goes_to_the_log_and_the_code_comes_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint(sys.argv[1:], flush=True)\nos.write(2, b'below python')\nsys.exit(3)\n")
    log = tmp_path / "logs" / "one.log"
    assert run_program([sys.executable, str(script), "a=1"], os.environ, log) == 3
    assert capfd.readouterr() == ("", "")
    assert log.read_text() == "['a=1']\nbelow python"


def test_without_a_log_it_writes_where_we_write_now(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And not where we wrote when the first program of all was started."""
    script = tmp_path / "script.py"
    script.write_text("import os\nos.write(1, b'out')\nos.write(2, b'err')\n")
    with capfd.disabled(), (tmp_path / "before").open("w") as before:
        kept = [os.dup(stream) for stream in (1, 2)]
        try:
            for stream in (1, 2):
                os.dup2(before.fileno(), stream)
            assert run_program([sys.executable, str(script)], os.environ) == 0
        finally:
            for stream, file in zip((1, 2), kept, strict=True):
                os.dup2(file, stream)
                os.close(file)
    assert (tmp_path / "before").read_text() == "outerr"
    assert run_program([sys.executable, str(script)], os.environ) == 0
    assert capfd.readouterr() == ("out", "err")


def test_with_a_log_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script, pid_file = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()) + '.')\n"
        "time.sleep(60)\n"
    )
    starter = (
        "import os, pathlib\nfrom csrlhf.runs import processes\nprocesses.PRELOAD = ()\nif __name__ == '__main__':\n"
        f"    processes.run_program(['python', {str(script)!r}], os.environ, pathlib.Path({str(tmp_path / 'log')!r}))\n"
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


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
