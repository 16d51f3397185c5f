"""Figures of a stage as PNG: its curves, and those of a cost model.

Curves are drawn from ``history.csv`` when training ends: small multiples, and one file per panel. A cost model has two
figures for each judged split and constraint, with their points as CSV files beside them. ``reliability_<split>``: is
P(unsafe) true, before and after calibration? ``threshold_<split>``: what would another threshold on the cost logit
give? With several constraints their names follow (``reliability_test_harm.png``).

Legend of suffixes: N rows, K constraints, M thresholds.
"""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from scipy.special import expit

from csrlhf.data.encoding import prompt_text
from csrlhf.stats.classification import (
    ReliabilityBin,
    ThresholdCurve,
    expected_calibration_error,
    reliability_bins,
    threshold_curve,
)
from csrlhf.tracking.history import Row, read_history

COLORS = ("#0b6e99", "#d1495b", "#3f8f5b", "#8c5fa8", "#c98a1b")
"""Distinguishable with the common colour-vision deficiencies, also in print."""

GREY = "#8a8a8a"

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
        history: the CSV file of :class:`~csrlhf.tracking.history.HistoryLogger`.
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
    shown = [panel for panel in panels if any(series(rows, key) for key in panel.keys)]
    if not shown:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    from matplotlib import rc_context

    with rc_context(PLAIN):
        figure, axes = _subplots(lines, columns, figsize=(4.2 * columns, 3.0 * lines))
        for axis, panel in zip(axes, shown, strict=False):
            draw_panel(axis, panel, rows)
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        written = [folder / "curves.png"]
        _save(figure, written[0])
        for panel in shown:
            figure, (axis,) = _subplots(figsize=(6.4, 4.0))
            draw_panel(axis, panel, rows)
            written.append(folder / f"{panel.title.lower().replace(' ', '_')}.png")
            _save(figure, written[-1])
    return written


def draw_panel(axis: Any, panel: Panel, rows: Sequence[Row]) -> None:
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
    _style(axis)
    axis.legend(fontsize=7, frameon=False)


class CostPlots(Callback):
    """Draws after a validation or test run of its own; nothing while training.

    Args:
        folder: where PNG and CSV files go.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    def _draw(self, trainer: Trainer, module: Any, split: str) -> None:
        if not trainer.is_global_zero or trainer.state.fn not in ("validate", "test"):
            return
        from matplotlib import rc_context

        names = module.source.constraints
        rows = module.source.labelled(split)
        unsafe_NK, prompts = np.array([row.unsafe for row in rows]) > 0.5, [prompt_text(row.prompt) for row in rows]
        temperature_K = module.model.temperature_K.double().cpu().numpy()
        for k, name in enumerate(names):
            plot = CostPlot(split, name if len(names) > 1 else "", self.folder)
            with rc_context(PLAIN):
                plot.reliability(module.logits[split][:, k], unsafe_NK[:, k], float(temperature_K[k]), prompts)
                plot.threshold(module.logits[split][:, k] / temperature_K[k], unsafe_NK[:, k])


class CostPlot:
    """The figures of one output on one split.

    Args:
        split: which rows were judged.
        constraint: the output's name; empty where it is the only one.
        folder: where files go; made where it is missing.
    """

    def __init__(self, split: str, constraint: str, folder: Path) -> None:
        self.suffix = "_".join(filter(None, (split, constraint)))
        self.heading = ", ".join(filter(None, (constraint, f"{split} split")))
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def reliability(
        self,
        logit_N: NDArray[np.float64],
        unsafe_N: NDArray[np.bool_],
        temperature: float,
        prompts: Sequence[str] | None = None,
    ) -> None:
        """Share of unsafe rows against P(unsafe), by bin, above a histogram of P(unsafe).

        Args:
            logit_N: the head's logits, before any temperature.
            unsafe_N: the truth.
            temperature: what logits are divided by; at 1 there is one curve only.
            prompts: of each row, for the intervals; None where every row has its own.
        """
        curves = {"not calibrated": (expit(logit_N), GREY)}
        if temperature != 1.0:
            curves[f"calibrated, T = {temperature:.2f}"] = (expit(logit_N / temperature), COLORS[0])
        rows: list[dict[str, Any]] = []
        figure, (upper, lower) = _subplots(2, figsize=(5.4, 6.2), sharex=True, height_ratios=[3.2, 1])
        upper.plot([0, 1], [0, 1], color="#444444", linestyle="--", linewidth=1.0)
        for shift, (label, (probability_N, color)) in zip((-0.006, 0.006), curves.items(), strict=False):
            bins = reliability_bins(probability_N, unsafe_N, prompts)
            error = expected_calibration_error(probability_N, unsafe_N)
            _draw_bins(upper, bins, color, f"{label}: error {error:.3f}", shift)
            lower.hist(probability_N, bins=np.linspace(0, 1, 21), histtype="step", color=color, linewidth=1.5)
            rows += [{"temperature": 1.0 if color == GREY else temperature, **asdict(part)} for part in bins]
        upper.set(ylabel="share that is unsafe", ylim=(-0.02, 1.02), title=f"Reliability ({self.heading})")
        figure.legend(*upper.get_legend_handles_labels(), fontsize=8, frameon=False, loc="lower center")
        lower.set(xlabel="P(unsafe) of the cost model", ylabel="responses", xlim=(-0.02, 1.02))
        self._save(figure, (upper, lower), f"reliability_{self.suffix}", bottom=0.06)
        self._write(f"reliability_{self.suffix}", ["temperature", *(f.name for f in fields(ReliabilityBin))], rows)

    def threshold(self, logit_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_]) -> None:
        """Recall, false positive rate and precision against the threshold; the legend has their values at 0.

        Args:
            logit_N: cost logits as a constraint sees them, after calibration.
            unsafe_N: the truth.
        """
        curve = threshold_curve(logit_N, unsafe_N)
        chosen = curve.at(0.0)
        figure, (axis,) = _subplots(1, figsize=(6.4, 4.2))
        for words, key, color in (
            ("unsafe flagged (recall)", "recall", COLORS[0]),
            ("flagged that is unsafe (precision)", "precision", COLORS[2]),
            ("safe flagged (false positives)", "false_positive_rate", COLORS[1]),
        ):
            label = f"{words}: {chosen[key]:.3f} at 0"
            axis.step(curve.tau_M, getattr(curve, f"{key}_M"), where="post", color=color, linewidth=1.5, label=label)
        axis.axvline(0.0, color="#444444", linestyle="--", linewidth=1.0)
        low, high = float(curve.tau_M[0]), float(curve.tau_M[-1])
        axis.set(xlabel="threshold τ on the cost logit (dashed: 0, P(unsafe) = ½)", ylabel="share", ylim=(-0.02, 1.02))
        axis.set(xlim=(low, max(high, low + 1.0)), title=f"Threshold ({self.heading})")
        figure.legend(*axis.get_legend_handles_labels(), fontsize=8, frameon=False, loc="lower center")
        self._save(figure, (axis,), f"threshold_{self.suffix}", bottom=0.14)
        self._write(f"threshold_{self.suffix}", *_columns(curve))

    def _save(self, figure: Any, axes: Sequence[Any], name: str, bottom: float) -> None:
        """Write the PNG; ``bottom`` is the legend's share of the height."""
        for axis in axes:
            axis.set_title(axis.get_title(), fontsize=10, fontweight="bold")
            _style(axis)
        _save(figure, self.folder / f"{name}.png", bottom)

    def _write(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        with (self.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


def _draw_bins(axis: Any, bins: Sequence[ReliabilityBin], color: str, label: str, shift: float) -> None:
    """A line through the bins' shares with their intervals; ``shift`` keeps two curves' bars apart."""
    x = [part.probability + shift for part in bins]
    share = [part.unsafe for part in bins]
    reach = [[part.unsafe - part.unsafe_low for part in bins], [part.unsafe_high - part.unsafe for part in bins]]
    axis.errorbar(
        x,
        share,
        yerr=np.clip(reach, 0, None),
        color=color,
        label=label,
        marker="o",
        markersize=4,
        linewidth=1.3,
        elinewidth=0.9,
    )


def _columns(curve: ThresholdCurve) -> tuple[list[str], list[dict[str, float]]]:
    """Names and rows of a curve's CSV file."""
    arrays = {field.name.removesuffix("_M"): getattr(curve, field.name) for field in fields(curve)}
    return list(arrays), [dict(zip(arrays, map(float, row), strict=True)) for row in zip(*arrays.values(), strict=True)]


def _subplots(
    lines: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any
) -> tuple[Any, list[Any]]:
    """A figure and its axes, line by line; not by pyplot, whose backend is a notebook's own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize)
    return figure, list(figure.subplots(lines, columns, squeeze=False, **options).flat)


def _style(axis: Any) -> None:
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, path: Path, bottom: float = 0.0) -> None:
    """Writes the PNG; ``bottom`` is the share of the height below the axes."""
    figure.tight_layout(rect=(0, bottom, 1, 1) if bottom else None)  # a rectangle is laid out twice: half of the time
    figure.savefig(path, dpi=130)
