"""Curves as PNG, drawn from ``history.csv`` when training ends: small multiples, and one file per panel."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from csrlhf.callbacks.history import Row, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0b6e99", "#d1495b", "#3f8f5b", "#8c5fa8", "#c98a1b")
"""Distinguishable with the common colour-vision deficiencies, also in print."""

PLAIN: Any = {"text.parse_math": False}
"""Matplotlib's settings of a figure with names of the user's in it: a ``$`` is one, and begins no formula."""


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: the heading.
        keys: metric keys or patterns (``constraint/*/cost``); drawn are those that were logged.
        line: key or pattern whose last value is a horizontal line (the threshold).
        zero: draw a line at zero.
    """

    title: str
    keys: Sequence[str]
    line: str | None = None
    zero: bool = False


class Plots(Callback):
    """Draws the panels when fitting ends.

    Args:
        history: the CSV file of :class:`~csrlhf.callbacks.history.HistoryLogger`.
        folder: where the PNG files go.
        panels: mappings with the fields of :class:`Panel`.
    """

    def __init__(self, history: str, folder: str, panels: Sequence[dict[str, Any]]) -> None:
        self.history = Path(history)
        self.folder = Path(folder)
        self.panels = [Panel(**panel) for panel in panels]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.history.exists():
            draw(read_history(self.history), self.panels, self.folder)


def series(rows: Sequence[Row], pattern: str) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of each logged key that matches the pattern."""
    keys = sorted({key for row in rows for key in row if fnmatch.fnmatchcase(key, pattern)})
    found = {}
    for key in keys:
        points = [(row["step"], row[key]) for row in rows if key in row]
        found[key] = ([step for step, _ in points], [value for _, value in points])
    return found


def draw(rows: Sequence[Row], panels: Sequence[Panel], folder: Path) -> list[Path]:
    """Writes ``curves.png`` (all panels that have data) and one PNG per panel.

    Returns:
        The files written; none where nothing was logged.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [panel for panel in panels if any(series(rows, key) for key in panel.keys)]
    if not shown:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    written = [folder / "curves.png"]
    with matplotlib.rc_context(PLAIN):
        figure, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 3.0 * lines), squeeze=False)
        for axis, panel in zip(axes.flat, shown, strict=False):
            draw_panel(axis, panel, rows)
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        _save(figure, written[0])
        for panel in shown:
            figure, axis = plt.subplots(figsize=(6.4, 4.0))
            draw_panel(axis, panel, rows)
            written.append(folder / f"{panel.title.lower().replace(' ', '_')}.png")
            _save(figure, written[-1])
    return written


def draw_panel(axis: Axes, panel: Panel, rows: Sequence[Row]) -> None:
    """Draws one panel: a thin line through the values, dots where there are few."""
    curves = {key: xy for pattern in panel.keys for key, xy in series(rows, pattern).items()}
    for color, (key, (steps, values)) in zip(COLORS * len(curves), curves.items(), strict=False):
        marker = "o" if len(steps) <= 20 else None
        axis.plot(steps, values, color=color, linewidth=1.4, marker=marker, markersize=3, label=key)
    if panel.line:
        for key, (_, values) in series(rows, panel.line).items():
            axis.axhline(values[-1], color="#444444", linestyle="--", linewidth=1.0, label=key)
    if panel.zero:
        axis.axhline(0.0, color="#444444", linestyle="--", linewidth=1.0)
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axis.set_xlabel("step", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
