"""The table of docs/reference/penalties.md: by hand, and of the settings that the command runs."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pytest

from benchmarks.bandit.curves import BEST, LIMIT, OPTIMAL, Setting, draw, run, settings
from benchmarks.bandit.problem import Path
from benchmarks.penalty_curves import COLUMNS, MARKS, PAGE, row, write_table
from csrlhf.penalties import Linear


def constant(cost: float, value: float) -> Path:
    """A path of four steps that are all alike after the first."""
    cost_S, value_S = np.array([0.5, *[cost] * 3]), np.array([0.0, *[value] * 3])
    return Path(cost_S, value_S, np.ones(4), np.full(4, OPTIMAL), np.ones(16) / 16)


def test_a_row_by_hand() -> None:
    setting = Setting("some", lambda: Linear(1.0), 1.0, predicted=0.25)
    found = row(setting, [constant(LIMIT + 0.1, 0.9 * BEST), constant(LIMIT - 0.02, 0.9 * BEST)])
    # over the seeds: cost .14; half of the steps above d; Σ violation (.4 + 3 · .1 + .4) / 2
    assert found == "| some | 0.140 | 0.250 | 0.000 | 50 % | +10.0 % | 1.00 | 0.6 |"


def test_the_page_has_a_row_for_every_setting_and_the_table_alone_is_replaced(tmp_path: File) -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = page.split(MARKS[0])[1].split(MARKS[1])[0].strip().splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == list(COLUMNS)
    assert [line.split("|")[1].strip() for line in lines[2:]] == [setting.name for setting in settings()]
    copy = tmp_path / "page.md"
    copy.write_text(page, encoding="utf-8")
    write_table("new", copy)
    assert copy.read_text(encoding="utf-8") == page.replace("\n".join(lines), "new")


@pytest.mark.filterwarnings("error::UserWarning")
def test_every_setting_runs_and_the_figure_is_drawn(tmp_path: File) -> None:
    found = [(setting, run(setting, steps=3, seeds=1)) for setting in settings()]
    assert all(np.isfinite(paths[0].value_S).all() for _, paths in found)
    draw(found, tmp_path / "images" / "penalties.png")
    assert (tmp_path / "images" / "penalties.png").stat().st_size > 20_000
