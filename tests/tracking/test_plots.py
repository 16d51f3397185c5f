from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from csrlhf.tracking.plots import Panel, draw, draw_panel, series

ROWS = [
    {"step": 0.0, "constraint/harm/cost": 0.4, "constraint/harm/threshold": 0.05, "train/reward": 1.0},
    {"step": 1.0, "constraint/harm/cost": 0.2, "constraint/harm/threshold": 0.05, "train/reward": 2.0},
    {"step": 1.0, "validation/reward": 3.0},
]


def test_series_are_found_by_pattern_and_skip_missing_rows() -> None:
    assert series(ROWS, "constraint/*/cost") == {"constraint/harm/cost": ([0.0, 1.0], [0.4, 0.2])}
    assert series(ROWS, "validation/reward") == {"validation/reward": ([1.0], [3.0])}
    assert series(ROWS, "policy/kl") == {}


def test_only_panels_with_data_are_drawn(tmp_path: Path) -> None:
    panels = [Panel("Cost so far", ["constraint/*/cost"]), Panel("KL", ["policy/kl"])]
    written = draw(ROWS, panels, tmp_path)
    assert [path.name for path in written] == ["curves.png", "cost_so_far.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert draw(ROWS, panels[1:], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_the_threshold_is_a_labelled_line() -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    draw_panel(axis, Panel("Cost", ["constraint/*/cost"], line="constraint/*/threshold"), ROWS)
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["constraint/harm/cost", "constraint/harm/threshold"]
    assert axis.lines[1].get_ydata()[0] == pytest.approx(0.05)
    plt.close(figure)
