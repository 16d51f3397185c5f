"""A program in its own process: arguments, environment, exit code, and a start that costs no imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from csrlhf.runs.processes import run_program


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
