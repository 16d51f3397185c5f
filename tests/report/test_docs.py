"""The code of docs/how-to/report.md runs, and makes what the page says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import csrlhf.report

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "report.md"


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_its_code_writes_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree_of: Callable[[str], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    programs = re.findall(r"^```python\n(.*?)^```", text(), re.MULTILINE | re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, str(PAGE), "exec"), names)
    page = tree_of((tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8"))
    headings = ["Unsafe rate by attack", "Sample dialogues", "Provenance", "Length of the responses"]
    assert [heading.text for heading in page.find("h2")] == headings
    assert [path.name for path in (tmp_path / "evaluation" / "plots").iterdir()] == ["attacks.png"]
    assert list(names["report"].figures()) == ["attacks", "lengths"]
    assert list(names["report"].tables()) == ["share_of_responses_above_cost", "matrix", "lengths"]


def test_its_table_names_every_block_and_every_field() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", text(), re.MULTILINE)
    described = {name: re.findall(r"\w+", fields) for name, fields in rows}
    described["Cards"] = ["cards"]  # written out as a list of Card(...)
    kinds = [kind for kind in csrlhf.report.Block.__subclasses__() if kind.__module__.startswith("csrlhf.report")]
    assert described == {kind.__name__: [field.name for field in dataclasses.fields(kind)] for kind in kinds}
