"""``benchmarks.best_of_n``: its table, its figure, and the draws that it keeps."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.best_of_n import load, main, table
from benchmarks.decoding.best_of_n import Judged, Line, figure
from csrlhf.errors import UserError
from csrlhf.generation import Candidate

LINES = [
    Line("SFT", model, rule, n, 0.5, 0.125, 0.25, 0.5, 1.0, n)
    for model in ("τ = 0", "misses half")
    for rule in ("best", "first")
    for n in (1, 4)
]


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = table(LINES).splitlines()
    assert len(rows) == 2 + 8
    assert rows[3] == "| SFT | τ = 0 | best | 4 | 50.00% ± 12.50% | 25.00% | 50.0% | 1.00 | 4.00 |"
    assert len({row.count("|") for row in rows}) == 1


def test_the_figure(tmp_path: Path) -> None:
    figure(LINES, tmp_path / "plots" / "one.png")
    assert (tmp_path / "plots" / "one.png").stat().st_size > 10_000


def test_kept_draws_come_back(tmp_path: Path) -> None:
    drawn = [[Judged(Candidate(0, "yes", True, {"harm": -1.0}, 0.5, True), unsafe=False, helped=True)]]
    (tmp_path / "kept.json").write_text(json.dumps([[asdict(one) for one in tries] for tries in drawn]))
    assert load(tmp_path / "kept.json") == drawn
    assert load(tmp_path / "none.json") is None


def test_too_many_prompts() -> None:
    with pytest.raises(UserError, match="--prompts=1: must be from 2 to"):
        main(["--prompts", "1"])
