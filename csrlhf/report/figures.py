"""Figures: drawn by the caller on matplotlib axes, once in the light and once in the dark style.

No pyplot: nothing global is touched, and a figure is gone when nobody holds it.
"""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from csrlhf.report.blocks import Block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure
    from matplotlib.transforms import Bbox

    from csrlhf.stats.intervals import Interval


# Colours of figures, on light and on dark ground; the page's are in ``assets/page.css``.


@dataclass(frozen=True)
class Palette:
    """Colours of one style.

    Attributes:
        ground: behind the figure.
        ink: text and axes.
        muted: what is less important: reference lines, labels of ticks.
        grid: lines of the grid.
        good: what is safe, or an aim reached.
        warn: what is undecided.
        bad: what is unsafe.
        series: one colour a curve; distinguishable with the common colour-vision deficiencies;
            red comes late, so that two or three curves are not taken for good and bad ones.
    """

    ground: str
    ink: str
    muted: str
    grid: str
    good: str
    warn: str
    bad: str
    series: tuple[str, ...]


LIGHT = Palette(
    ground="#ffffff",
    ink="#1c2127",
    muted="#59636e",
    grid="#e3e6ea",
    good="#2c7a4b",
    warn="#8f5f00",
    bad="#b3283e",
    series=("#0b6e99", "#b87a10", "#3f8f5b", "#8c5fa8", "#d1495b", "#5c6670"),
)
DARK = Palette(
    ground="#14171a",
    ink="#e4e7eb",
    muted="#9aa4af",
    grid="#2c3238",
    good="#6cc08b",
    warn="#e0ad4f",
    bad="#f28b99",
    series=("#5db4dd", "#e3b04b", "#7cc796", "#c39bdc", "#f28b99", "#a3adb8"),
)


Draw = Callable[["Axes", Palette], None]


def figure_name(*parts: str) -> str:
    """A figure's name from words that may be anything: a constraint's, a strategy's."""
    return re.sub(r"[^\w.-]", "_", "_".join(parts))


@dataclass(frozen=True)
class Figure(Block):
    """A picture with its alternative text.

    Attributes:
        name: its file name and its key in W&B, e.g. ``unsafe_by_category``.
        draw: draws on the axes it is given, with the palette's colours.
        alt: what a reader learns who cannot see it.
        caption: what stands below it.
        size: width and height in inches.
    """

    name: str
    draw: Draw
    alt: str
    caption: str = ""
    size: tuple[float, float] = (5.2, 3.3)
    kind: ClassVar[str] = "figure"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"figure {self.name!r}: a name is a file name of letters, digits and _ . -")
        if not self.alt.strip():
            raise ValueError(f"figure {self.name!r}: alt must say what the figure shows")

    def make(self, palette: Palette = LIGHT) -> MatplotlibFigure:
        """The matplotlib figure in a style."""
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as MatplotlibFigure

        with rc_context(_settings(palette)):
            figure = MatplotlibFigure(figsize=self.size, layout="constrained")
            FigureCanvasAgg(figure)
            try:
                self.draw(figure.add_subplot(), palette)
            except Exception as error:
                error.add_note(f"while drawing the figure {self.name!r}")
                raise
        return figure

    @cached_property
    def _images(self) -> tuple[str, str]:
        """Light and dark; laid out once, which takes longer than drawing: the styles differ in colours alone."""
        light, places = self._data_uri(LIGHT, None)
        return light, self._data_uri(DARK, places)[0]

    def _data_uri(self, palette: Palette, places: list[Bbox] | None) -> tuple[str, list[Bbox]]:
        """The figure as an SVG image in an address, the same bytes each time, and where its axes stand."""
        from matplotlib import rc_context

        file = io.StringIO()
        with rc_context({**_settings(palette), "svg.hashsalt": self.name, "svg.fonttype": "path"}):
            figure = self.make(palette)
            if places is not None:
                figure.set_layout_engine("none")
                for axes, place in zip(figure.axes, places, strict=True):
                    axes.set_position(place)
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        svg = file.getvalue()
        svg = svg[svg.index("<svg") :]  # a document type would name an address
        address = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
        return address, [axes.get_position(original=True) for axes in figure.axes]

    @property
    def light(self) -> str:
        """The image for a light page, and for paper."""
        return self._images[0]

    @property
    def dark(self) -> str:
        """The image for a dark page."""
        return self._images[1]

    @property
    def width(self) -> int:
        """Pixels at full size."""
        return round(self.size[0] * 96)

    @property
    def height(self) -> int:
        """Pixels at full size."""
        return round(self.size[1] * 96)


def interval_figure(
    name: str, columns: Mapping[str, Mapping[str, Interval]], title: str, caption: str, axis: str
) -> Figure:
    """A point with its interval for each row, one colour a column.

    Args:
        name: of the figure's file.
        columns: rates with their intervals by row, for each column.
        title: what is shown, in words for those who cannot see it.
        caption: how to read it.
        axis: what the numbers below it are, in percent.
    """
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))

    def draw(axes: Any, palette: Palette) -> None:
        step = 0.8 / len(columns)
        for series, (policy, column) in enumerate(columns.items()):
            known = [(place, column[row]) for place, row in enumerate(rows) if row in column]
            places = [place + (series - (len(columns) - 1) / 2) * step for place, _ in known]
            values = [100 * rate.value for _, rate in known]
            ends = [[100 * (r.value - r.low) for _, r in known], [100 * (r.high - r.value) for _, r in known]]
            colour = palette.series[series % len(palette.series)]
            axes.errorbar(values, places, xerr=ends, fmt="o", color=colour, label=policy, capsize=3, markersize=4)
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel(axis)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)  # on top: hides no point

    spoken = "; ".join(
        f"{policy}: " + ", ".join(f"{row} {rate.value:.1%}" for row, rate in column.items())
        for policy, column in columns.items()
    )
    size = 6.4, 1.4 + 0.32 * len(rows) * max(1, len(columns) / 2)
    return Figure(name, draw, f"{title}. {spoken}", caption, size=size)


def _settings(palette: Palette) -> dict[Any, Any]:
    """Matplotlib's settings of a style."""
    from cycler import cycler

    return {
        "figure.facecolor": palette.ground,
        "savefig.facecolor": palette.ground,
        "savefig.edgecolor": palette.ground,
        "axes.facecolor": palette.ground,
        "axes.edgecolor": palette.muted,
        "axes.labelcolor": palette.ink,
        "axes.titlecolor": palette.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.labelsize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=list(palette.series)),
        "grid.color": palette.grid,
        "grid.linewidth": 0.7,
        "text.parse_math": False,  # names are data: a $ is one
        "font.size": 10.5,
        "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
        "legend.fontsize": 10,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "text.color": palette.ink,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "xtick.labelcolor": palette.ink,
        "ytick.labelcolor": palette.ink,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
    }
