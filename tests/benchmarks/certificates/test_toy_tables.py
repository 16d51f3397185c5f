"""The tables of the study of certificates, and their place on the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.certificates.toy_study import (
    MARKS,
    Draw,
    case_lines,
    certificate,
    outcome_lines,
    study,
    write_page_table,
)
from csrlhf.evaluation.answers.records import Answer

Pool = Callable[[int, int, int], list[Answer]]


def test_the_tables_stand_between_their_marks(pool: Pool, about: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nstale row\n{MARKS[1]}\nafter\n", encoding="utf-8")
    lines = outcome_lines(study(pool(5, 5, 100), about, Draw("ppo", 50, 0), 3))
    cases = case_lines([certificate(pool(30, 30, 100), about, 0), certificate(pool(0, 0, 200), about, 0)])
    write_page_table(page, [*lines, "", *cases])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before")
    assert text.endswith(f"{MARKS[1]}\nafter\n")
    assert "stale row" not in text
    assert "| VIOLATED | 100 | 30 |" in text
    assert "| CERTIFIED | 200 | 0 |" in text
